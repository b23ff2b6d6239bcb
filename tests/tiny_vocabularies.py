"""Small vocabularies made on the spot, so that the tokenizer's tests never depend on files from elsewhere."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from sterna.model.tokenizer.pre import LLAMA3

SHARED = Path(__file__).parents[2] / "shared"
TEXT = [
    "It was a dark and stormy night; the rain fell in torrents, except at occasional intervals.\n",
    "The quick brown fox jumps over the lazy dog 1234567890 times, doesn't it? She'll say: 'No, I'VE seen 33.'\n",
    "    def hello(name):\n        return f'hello {name}'\n\n\nfür Äpfel, нещо на Български, 我想在apple工作 🦙🚀\n",
]
SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]


@cache
def byte_level_json(bos: bool = True) -> str:
    """A byte-level BPE of 400 tokens in Llama-3's manner, trained on TEXT, as tokenizer.json."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(LLAMA3), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXT, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.add_tokens([AddedToken("<think>", normalized=False)])
    if bos:
        token = tokenizer.token_to_id(SPECIAL[0])
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{SPECIAL[0]} $A", special_tokens=[(SPECIAL[0], token)]
        )
    return tokenizer.to_str()


def sentencepiece_metadata() -> dict[str, Any]:
    """A SentencePiece vocabulary with byte fallback: scores fall with rank, several ways lead to one piece."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    types = [2, 3, 3, *[6] * 256]
    words = ["▁▁", "▁▁▁▁", "▁t", "he", "▁the", "in", "er", "th", "aa", "aaaa", "aaa", "▁a", "ab", "ba", "aba", "ing"]
    characters = list("▁abcdefghinrst.,!äж")
    pieces += words + characters
    types += [1] * (len(words) + len(characters))
    scores = [0.0] * 259 + [-float(rank) for rank in range(len(words) + len(characters))]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.token_type": np.array(types, dtype=np.int32),
        "tokenizer.ggml.scores": np.array(scores, dtype=np.float32),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
    }
