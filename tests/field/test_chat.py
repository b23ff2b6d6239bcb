"""Chat templates and end tokens as people's files have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken
from tokenizers import Tokenizer as Library

from sterna.errors import ArgumentError, ModelWarning
from sterna.model.tokenizer import Tokenizer
from sterna.model.tokenizer.special import ends_a_text
from tests.chat_templates import reference
from tests.tiny_vocabularies import byte_level_json, sentencepiece_metadata

HEADER = "<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
PART = [{"role": "user", "content": [{"type": "text", "text": "What is 2+2?"}]}]
HI = [{"role": "user", "content": "Hi"}]
PLACEHOLDER = (
    "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}{% if message['role'] == 'user' %}"
    "{{ 'Human: ' + message['content'] + '\\n\\nBITNETAssistant: ' + eos_token }}{% elif message['role'] == "
    "'assistant' %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
)


def folder(path: Path, **files: Any) -> Path:
    """A folder with a tokenizer.json of 400 tokens and what `files` add (JSON, by name without its ending)."""
    if "tokenizer" not in files:
        (path / "tokenizer.json").write_text(byte_level_json())
    for name, value in files.items():
        (path / f"{name}.json").write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def metadata(template: str | None, path: Path) -> dict[str, Any]:
    keys = Tokenizer(folder(path)).gguf_metadata()
    return keys | ({} if template is None else {"tokenizer.chat_template": template})


def chat(template: str | None, messages: list[dict[str, Any]], path: Path) -> str:
    tokenizer = Tokenizer.from_gguf_metadata(metadata(template, path))
    return tokenizer.decode(tokenizer.encode_chat(messages), skip_special=False)


def test_parts_are_read_by_their_type(tmp_path: Path) -> None:
    template = (
        "{{ bos_token }}{% for m in messages %}" + HEADER + "{% if m.content is string %}{{ m.content }}{% else %}"
        "{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}{% endif %}<|eot_id|>"
        "{% endfor %}"
    )
    assert chat(template, PART, tmp_path) == reference(template, PART)


def test_parts_of_text_alone_are_one_text(tmp_path: Path) -> None:
    template = "{{ bos_token }}{% for m in messages %}" + HEADER + "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    flat = [{"role": "user", "content": "What is 2+2?"}]
    assert chat(template, PART, tmp_path) == reference(template, flat)
    assert chat(None, PART, tmp_path) == "<|begin_of_text|>User: What is 2+2?\nAssistant:"


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{% if tools is not none %}[AVAILABLE_TOOLS]{{ tools | list }}[/AVAILABLE_TOOLS]"
        "{% endif %}{{ m.content }}{% endfor %}",
        "{% if documents is not none %}{{ documents | tojson }}{% endif %}{% for m in messages %}{{ m.content }}"
        "{% endfor %}",
    ],
)
def test_tools_and_documents_are_none(template: str, tmp_path: Path) -> None:
    assert chat(template, HI, tmp_path) == reference(template, HI)


def test_the_placeholder_of_bitnet_cpp_gives_way_to_the_models_own_template(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "Be brief."}, *HI]
    with pytest.warns(ModelWarning, match="placeholder"):
        text = chat(PLACEHOLDER, messages, tmp_path)
    assert text == "<|begin_of_text|>System: Be brief.<|eot_id|>User: Hi<|eot_id|>Assistant: "
    with pytest.warns(ModelWarning):
        keys = Tokenizer.from_gguf_metadata(metadata(PLACEHOLDER, tmp_path)).gguf_metadata()
    assert "BITNETAssistant" not in keys["tokenizer.chat_template"]


@pytest.mark.parametrize("template", ["", " \n"])
def test_an_empty_template_is_none(template: str, tmp_path: Path) -> None:
    assert chat(template, HI, tmp_path) == "<|begin_of_text|>User: Hi\nAssistant:"
    tokenizer = Tokenizer(folder(tmp_path, tokenizer_config={"chat_template": template}))
    assert tokenizer.chat_template is None


def test_special_tokens_take_white_space_along_as_their_flags_say(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    library = Library.from_str(byte_level_json())
    added = [AddedToken(text, rstrip=True, special=True, normalized=False) for text in ("<|end|>", "<|user|>")]
    added.append(AddedToken("<|cut|>", lstrip=True, special=True, normalized=False))
    library.add_special_tokens(added)
    template = (
        "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n \u2003<|cut|>' "
        "}}{% endfor %}"
    )
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|end|>",
        "chat_template": template,
    }
    path = folder(tmp_path, tokenizer=library.to_str(), tokenizer_config=config)
    for messages in (HI, [{"role": "user", "content": "  Hi \n"}, {"role": "user", "content": ""}]):
        ids = transformers.PreTrainedTokenizerFast.from_pretrained(path).apply_chat_template(messages, tokenize=True)
        expected = ids if isinstance(ids, list) else ids["input_ids"]
        tokenizer = Tokenizer(path)
        assert tokenizer.encode_chat(messages, add_generation_prompt=False) == expected
        converted = Tokenizer.from_gguf_metadata(tokenizer.gguf_metadata())
        assert converted.encode_chat(messages, add_generation_prompt=False) == expected


def test_special_tokens_of_phi_3_take_the_line_end_along(tmp_path: Path) -> None:
    keys = metadata("{{ bos_token }}<|eot_id|>\nHi", tmp_path)
    lengths = [
        len(Tokenizer.from_gguf_metadata(keys | {"general.name": name}).encode_chat(HI))
        for name in ("Llama 3", "Phi 3 Mini", "phi-3.5")
    ]
    assert lengths == [5, 4, 4]


FINISH = "<|finish|>"
END_TOKENS: list[dict[str, Any]] = [
    {"config": {"eos_token_id": 406}},
    {"config": {"eos_token_id": [3, 406]}},
    {"config": {"text_config": {"eos_token_id": 406}}},
    {"generation_config": {"eos_token_id": [406]}},
    {"tokenizer_config": {"eos_token": FINISH}},
    {"tokenizer_config": {"eos_token": {"content": FINISH}}},
    {"special_tokens_map": {"eos_token": FINISH}},
    {"special_tokens_map": {"eos_token": {"content": FINISH}}, "tokenizer_config": {"eos_token": None}},
    {"config": {"eos_token_id": 406}, "generation_config": {"eos_token_id": 5}},
]


@pytest.mark.parametrize("files", END_TOKENS, ids=str)
def test_an_end_token_counts_wherever_it_is_named(files: dict[str, Any], tmp_path: Path) -> None:
    library = Library.from_str(byte_level_json())
    library.add_special_tokens([FINISH])
    assert library.token_to_id(FINISH) == 406
    tokenizer = Tokenizer(folder(tmp_path, tokenizer=library.to_str(), **files))
    assert 406 in tokenizer.eos_ids
    assert 406 in Tokenizer.from_gguf_metadata(tokenizer.gguf_metadata()).eos_ids
    again = tmp_path / "again"
    again.mkdir()
    for name, content in tokenizer.hf_files(64).items():
        (again / name).write_bytes(content)
    assert Tokenizer(again).eos_ids == tokenizer.eos_ids


@pytest.mark.parametrize("content", ["", "[]", "null", '{"eos_token_id":', '{"a": "\udcff"}'], ids=ascii)
@pytest.mark.parametrize("name", ["generation_config.json", "chat_template.json"])
def test_broken_files_that_transformers_does_without_are_left_out(name: str, content: str, tmp_path: Path) -> None:
    path = folder(tmp_path, config={"eos_token_id": 5})
    (path / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.warns(ModelWarning, match=rf"{name} is [^\n]+, and is left out\.$"):
        assert 5 in Tokenizer(path).eos_ids


@pytest.mark.parametrize(
    "template", [[{"name": [], "template": "x"}], [{"name": {}}], [5], {"default": []}, 5], ids=str
)
def test_what_is_no_template_is_none(template: Any, tmp_path: Path) -> None:
    assert Tokenizer(folder(tmp_path, tokenizer_config={"chat_template": template})).chat_template is None


def sentencepiece_model(path: Path) -> None:
    """The vocabulary of `sentencepiece_metadata` as tokenizer.model."""
    keys = sentencepiece_metadata()

    def field(number: int, value: bytes | int) -> bytes:
        if isinstance(value, int):
            return bytes([number << 3 & 0x7F | (0x80 if number > 15 else 0), *([1] if number > 15 else []), value])
        return bytes([number << 3 | 2]) + varint(len(value)) + value

    def varint(value: int) -> bytes:
        low = value & 0x7F
        return bytes([low]) if value < 0x80 else bytes([low | 0x80]) + varint(value >> 7)

    data = b""
    for text, score, kind in zip(
        keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.scores"], keys["tokenizer.ggml.token_type"], strict=True
    ):
        piece = field(1, text.encode()) + bytes([2 << 3 | 5]) + score.tobytes() + field(3, int(kind))
        data += field(1, piece)
    data += field(2, field(3, 2)) + field(3, field(4, 0))
    path.write_bytes(data)


@pytest.mark.parametrize(
    "files",
    [
        {"config": {"eos_token_id": 294}},
        {"added_tokens": {FINISH: 294}, "special_tokens_map": {"eos_token": FINISH}},
        {"added_tokens": {FINISH: 294}, "generation_config": {"eos_token_id": [294]}},
        {
            "tokenizer_config": {
                "eos_token": FINISH,
                "added_tokens_decoder": {"294": {"content": FINISH, "special": True}},
            }
        },
    ],
    ids=str,
)
def test_an_end_token_counts_beside_a_tokenizer_model(files: dict[str, Any], tmp_path: Path) -> None:
    sentencepiece_model(tmp_path / "tokenizer.model")
    size = Tokenizer(tmp_path).vocab_size
    replaced = json.loads(json.dumps(files).replace("294", str(size if "added" in str(files) else size - 1)))
    for name, value in replaced.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    tokenizer = Tokenizer(tmp_path)
    expected = size if "added" in str(files) else size - 1
    assert {2, expected} <= tokenizer.eos_ids
    if "added" in str(files):
        assert tokenizer.decode([expected], skip_special=False) == FINISH


def test_the_end_of_a_part_of_an_answer_is_not_its_end() -> None:
    harmony = {"<|end|>": 1, "<|return|>": 2, "<|call|>": 3, "<|start|>": 4}
    assert ends_a_text(harmony) == {2, 3} and ends_a_text({"<|end|>": 1, "<|user|>": 2}) == {1}


def test_a_message_without_content_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="no content"):
        chat(None, [{"role": "user"}], tmp_path)
