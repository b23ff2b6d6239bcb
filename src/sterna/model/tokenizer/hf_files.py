"""A vocabulary as the files of a Hugging Face folder: tokenizer.json and the configs beside it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sterna.errors import UnsupportedError
from sterna.model.tokenizer.bpe import library_errors
from sterna.model.tokenizer.special import SPECIAL_TYPES, TokenType, ids_of
from sterna.model.tokenizer.vocabulary import Prefix, Vocabulary

if TYPE_CHECKING:
    import tokenizers


def hf_files(vocabulary: Vocabulary, tokenizer_json: bytes | None, context_length: int) -> dict[str, bytes]:
    """File names and contents. A given `tokenizer_json` is used as it is; None makes one.

    Raises UnsupportedError for a vocabulary that tokenizer.json cannot hold.
    """
    named = {"bos_token": vocabulary.bos_id, "eos_token": vocabulary.eos_id}
    known = {name: vocabulary.tokens[token] for name, token in named.items() if token is not None}
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": vocabulary.add_bos,
        **known,
    }
    config["model_max_length"] = context_length
    if vocabulary.chat_template is not None:
        config["chat_template"] = vocabulary.chat_template
    generation: dict[str, Any] = {} if vocabulary.bos_id is None else {"bos_token_id": vocabulary.bos_id}
    if vocabulary.eos_ids:
        first = [token for token in (vocabulary.eos_id,) if token in vocabulary.eos_ids]
        ends = first + sorted(vocabulary.eos_ids - set(first))
        generation["eos_token_id"] = ends[0] if len(ends) == 1 else ends
    if tokenizer_json is None:
        tokenizer_json = _tokenizer(vocabulary).to_str(pretty=True).encode()
    files = {"tokenizer_config.json": config, "generation_config.json": generation}
    return {"tokenizer.json": tokenizer_json} | {
        name: json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n" for name, value in files.items()
    }


def _tokenizer(vocabulary: Vocabulary) -> tokenizers.Tokenizer:
    """The encoder of the vocabulary, completed by what Sterna otherwise does itself: special tokens, BOS, spaces,
    decoding."""
    from tokenizers import Tokenizer, decoders, normalizers, processors

    state, tokens = json.loads(vocabulary.encoder.to_str()), list(vocabulary.tokens)
    if state["model"]["type"] != "BPE":
        raise UnsupportedError(f"Sterna writes no tokenizer.json of a {state['model']['type']} vocabulary.")
    added = ids_of(vocabulary.types, *SPECIAL_TYPES, TokenType.USER_DEFINED)
    state["model"]["vocab"] = _model_vocabulary(tokens, state["model"], added)
    special = set(ids_of(vocabulary.types, *SPECIAL_TYPES))
    flags = {"single_word": False, "normalized": False}
    state["added_tokens"] = [
        {"id": token, "content": tokens[token], **flags, "special": token in special}
        | {"lstrip": token in vocabulary.lstrip, "rstrip": token in vocabulary.rstrip}
        for token in added
        if tokens[token]
    ]
    with library_errors("The vocabulary is none that tokenizer.json can hold"):
        tokenizer = Tokenizer.from_str(json.dumps(state))
    ids = tokenizer.get_vocab(with_added_tokens=True)
    for token, text in enumerate(tokens):
        if text and tokens[ids.get(text, token)] != text:
            raise UnsupportedError(f"Token {token} of the vocabulary, {text!r}, has no place in a tokenizer.json.")
    if vocabulary.byte_level:
        tokenizer.decoder = decoders.ByteLevel()
    else:
        prefix = vocabulary.prefix is not Prefix.NONE
        spaces = normalizers.Replace(" ", "▁")
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces] if prefix else [spaces])
        steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        tokenizer.decoder = decoders.Sequence(steps + [decoders.Strip(" ", 1, 0)] if prefix else steps)
    if vocabulary.add_bos and vocabulary.bos_id is not None:
        bos = tokens[vocabulary.bos_id]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[bos, "$A"], pair=[bos, "$A", bos, "$B"], special_tokens=[(bos, vocabulary.bos_id)]
        )
    return tokenizer


def _model_vocabulary(tokens: list[str], model: dict[str, Any], added: list[int]) -> dict[str, int]:
    """Text to id for the BPE model.

    The library gives added tokens that the model does not know the ids from the model's size on. So added tokens at the
    end of the vocabulary stay out of the model, as in published files; others have to be in it to keep their ids.
    """
    in_model = dict(model["vocab"])
    end = len(tokens)
    while end > 0 and (end - 1) in set(added[-(len(tokens) - end) - 1 :]):
        end -= 1
    merged = {part for merge in model["merges"] for part in merge}
    kept = {text: token for text, token in in_model.items() if token < end}
    kept |= {tokens[token]: token for token in added if token < end and tokens[token]}
    if len(kept) == end and not merged & set(tokens[end:]) and len(set(tokens)) == len(tokens):
        return kept
    return in_model | {tokens[token]: token for token in added if tokens[token]}
