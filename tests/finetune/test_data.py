"""Rows of files as examples: what is learned of them, how they are packed, and in which order they come."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from sterna.errors import ArgumentError  # noqa: E402
from sterna.finetune.config import SourceSection  # noqa: E402
from sterna.finetune.data.batches import IGNORED, Batches, packed, part_of  # noqa: E402
from sterna.finetune.data.examples import Sequence, Source, read_source  # noqa: E402
from sterna.model.tokenizer import Tokenizer  # noqa: E402

from ..helpers import shared  # noqa: E402
from .bases import TEMPLATE, write_rows, write_tokenizer  # noqa: E402


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    write_tokenizer(tmp_path)
    return Tokenizer(tmp_path)


def read(folder: Path, rows: list[dict[str, Any]], form: str, tokenizer: Tokenizer, context: int = 500) -> Source:
    write_rows(folder / "rows.jsonl", rows)
    return read_source(folder, SourceSection("rows.jsonl", form), tokenizer, context, tokenizer.vocab_size)


def learned(tokenizer: Tokenizer, sequence: Sequence) -> str:
    return tokenizer.decode(sequence.ids[sequence.learned].tolist(), skip_special=False)


def whole(tokenizer: Tokenizer, sequence: Sequence) -> str:
    return tokenizer.decode(sequence.ids.tolist(), skip_special=False)


def test_masks_equal_those_of_transformers() -> None:
    folder = shared("golden-finetune")
    tokenizer = Tokenizer(folder / "chat-tokenizer")
    for line in (folder / "chat-masks.jsonl").read_text().splitlines():
        row = json.loads(line)
        ((ids, marks),) = tokenizer.encode_answers(row["messages"])
        assert ids == row["input_ids"]
        assert list(map(int, marks)) == row["assistant_masks"]


def test_answers_alone_are_learned_with_their_ends_of_turn(tmp_path: Path, tokenizer: Tokenizer) -> None:
    turns = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Yes."), ("user", "And?"), ("assistant", "No.")]
    messages = [{"role": role, "content": text} for role, text in [*turns, ("user", "Left over")]]
    (sequence,) = read(tmp_path, [{"messages": messages}], "messages", tokenizer).sequences
    assert learned(tokenizer, sequence) == "Yes.<|eot_id|>No.<|eot_id|>"
    assert "Left over" not in whole(tokenizer, sequence)


def test_special_tokens_that_were_typed_stay_text(tmp_path: Path, tokenizer: Tokenizer) -> None:
    messages = [{"role": "user", "content": "a<|eot_id|>b"}, {"role": "assistant", "content": "c<|eot_id|>"}]
    (sequence,) = read(tmp_path, [{"messages": messages}], "messages", tokenizer).sequences
    end = tokenizer.special_id("<|eot_id|>")
    assert (sequence.ids == end).sum() == 2
    assert sequence.ids[-1] == end and sequence.learned[-1]


def test_a_template_that_changes_earlier_answers_gives_an_example_an_answer(tmp_path: Path) -> None:
    template = (
        "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>"
        "{{ m.content if loop.last else m.content.split('</think>')[-1] }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>{% endif %}"
    )
    write_tokenizer(tmp_path, template)
    tokenizer = Tokenizer(tmp_path)
    turns = [("user", "1"), ("assistant", "why</think>A"), ("user", "2"), ("assistant", "how</think>B")]
    messages = [{"role": role, "content": text} for role, text in turns]
    one, two = read(tmp_path, [{"messages": messages}], "messages", tokenizer).sequences
    assert learned(tokenizer, one) == "why</think>A<|eot_id|>"
    assert learned(tokenizer, two) == "how</think>B<|eot_id|>"
    assert "why" not in whole(tokenizer, two)


@pytest.mark.parametrize("generation", [True, False])
def test_a_boundary_inside_of_a_token_takes_the_whole_token(tmp_path: Path, generation: bool) -> None:
    template = TEMPLATE
    if generation:
        template = (
            "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}"
            "{% else %}{{ m.content }}{% endif %}{% endfor %}"
        )
    write_tokenizer(tmp_path, template)
    tokenizer = Tokenizer(tmp_path)
    ((ids, marks),) = tokenizer.encode_answers(
        [{"role": "user", "content": "The ra"}, {"role": "assistant", "content": "in fell"}]
    )
    text = b"".join(tokenizer.token_bytes(token) for token, mark in zip(ids, marks, strict=True) if mark).decode()
    assert text.endswith("in fell<|eot_id|>" if not generation else "in fell")
    assert len(text) - len("in fell") <= (len("<|eot_id|>") if not generation else 3)


ROWS: list[tuple[str, dict[str, Any], str]] = [
    ("sharegpt", {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yes."}]}, "Yes."),
    ("alpaca", {"instruction": "Say", "input": "yes", "output": "Yes."}, "Yes."),
    ("prompt", {"prompt": "Hi", "response": "Yes."}, "Yes."),
    ("prompt", {"prompt": "Hi", "completion": "Yes."}, "Yes."),
]


@pytest.mark.parametrize(("form", "row", "answer"), ROWS)
def test_pairs_and_sharegpt_are_turns_of_the_template(
    tmp_path: Path, tokenizer: Tokenizer, form: str, row: dict[str, Any], answer: str
) -> None:
    (sequence,) = read(tmp_path, [row], form, tokenizer).sequences
    assert learned(tokenizer, sequence) == answer + "<|eot_id|>"
    assert whole(tokenizer, sequence).startswith("<|start_header_id|>user<|end_header_id|>")


def test_a_model_without_a_template_gets_plain_prompts(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, None)
    tokenizer = Tokenizer(tmp_path)
    (pair,) = read(tmp_path, [{"instruction": "Say", "output": "Yes."}], "alpaca", tokenizer).sequences
    assert "### Instruction:\nSay\n\n### Response:\n" in whole(tokenizer, pair)
    assert learned(tokenizer, pair) in ("Yes.<|end_of_text|>", "Yes.<|eot_id|>")
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes."}]
    (chat,) = read(tmp_path, [{"messages": messages}], "messages", tokenizer).sequences
    assert whole(tokenizer, chat).startswith("<|begin_of_text|>User: Hi\nAssistant:")
    assert learned(tokenizer, chat).startswith(" Yes.\n<|e")


def test_long_texts_are_cut_and_long_conversations_lose_their_end(tmp_path: Path, tokenizer: Tokenizer) -> None:
    source = read(tmp_path, [{"text": "The rain fell. " * 40}], "completion", tokenizer, context=50)
    assert len(source.sequences) > 2 and source.cut == 0
    assert not any(sequence.learned[0] for sequence in source.sequences)
    messages = [{"role": "user", "content": "Hi " * 100}, {"role": "assistant", "content": "Yes."}]
    source = read(tmp_path, [{"messages": messages}], "messages", tokenizer, context=50)
    assert (source.cut, source.without_answer, source.sequences) == (1, 1, [])


def test_tokens_of_another_vocabulary_are_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(ArgumentError, match="Row 1 .* outside of the vocabulary"):
        read(tmp_path, [{"input_ids": [1, 100000]}], "tokens", tokenizer)
    (sequence,) = read(tmp_path, [{"input_ids": [1, 2, 3], "labels": [-100, -100, 3]}], "tokens", tokenizer).sequences
    assert sequence.learned.tolist() == [False, False, True]


BROKEN: list[tuple[str, dict[str, Any]]] = [
    ("messages", {"text": "x"}),
    ("messages", {"messages": "x"}),
    ("messages", {"messages": [{"role": "nobody", "content": "x"}, {"role": "assistant", "content": "y"}]}),
    ("sharegpt", {"conversations": [{"from": "nobody", "value": "x"}]}),
    ("prompt", {"prompt": 3, "response": "x"}),
    ("tokens", {"input_ids": [1, 2], "labels": [1]}),
]


@pytest.mark.parametrize(("form", "row"), BROKEN)
def test_rows_of_another_form_are_named(tmp_path: Path, tokenizer: Tokenizer, form: str, row: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=r"^Row 1 of rows\.jsonl is no example of the format .*\.$"):
        read(tmp_path, [row], form, tokenizer)


def test_a_json_list_that_was_cut_off_is_read_to_its_last_entry(tmp_path: Path, tokenizer: Tokenizer) -> None:
    whole = json.dumps([{"prompt": "a", "response": "b"}, {"prompt": "c", "response": "d"}])
    (tmp_path / "rows.json").write_text(whole[:-15])
    with pytest.warns(UserWarning, match="broken after"):
        source = read_source(tmp_path, SourceSection("rows.json", "prompt"), tokenizer, 100, tokenizer.vocab_size)
    assert len(source.sequences) == 1
    (tmp_path / "rows.json").write_text(whole)
    source = read_source(tmp_path, SourceSection("rows.json", "prompt"), tokenizer, 100, tokenizer.vocab_size)
    assert len(source.sequences) == 2


def sequences(sizes: list[int]) -> list[Sequence]:
    return [Sequence(np.full(size, size, np.int32), np.arange(size) > 0) for size in sizes]


def test_rows_are_filled_and_hold_every_example_once() -> None:
    sizes = [7, 3, 9, 1, 4, 6, 2, 8, 5, 10]
    rows = list(packed(sequences(sizes), 10))
    assert Counter(len(sequence) for row in rows for sequence in row) == Counter(sizes)
    assert all(sum(map(len, row)) <= 10 for row in rows)
    assert len(rows) == 6


def test_labels_follow_their_token_and_do_not_cross_examples() -> None:
    part = part_of([Sequence(np.array([1, 2, 3], np.int32), np.array([False, False, True])), *sequences([4])], 5)
    assert part.tokens.tolist() == [[1, 2, 3, 4, 4, 4, 4]]
    assert part.labels.tolist() == [[IGNORED, 3, IGNORED, 4, 4, 4, IGNORED]]
    assert part.lengths == (3, 4)


def test_weights_say_how_often_an_epoch_has_an_example() -> None:
    often = Source(SourceSection("a", weight=2.0), sequences([3]))
    rarely = Source(SourceSection("b", weight=0.5), sequences([4, 5, 6, 7]))
    batches = Batches([often, rarely], context=10, packing=False, seed=1)
    epochs = [Counter(len(sequence) for row in batches.epoch(number) for sequence in row) for number in range(8)]
    assert all(epoch[3] == 2 and sum(epoch.values()) == 4 for epoch in epochs)
    assert len({frozenset(epoch) for epoch in epochs}) > 1


def test_batches_are_a_function_of_seed_and_step() -> None:
    source = Source(SourceSection("a"), sequences([3, 4, 5, 6, 7]))
    one, other = (Batches([source], context=10, packing=False, seed=1) for _ in range(2))
    forward = [one.batch(step, 2) for step in range(6)]
    backward = [other.batch(step, 2) for step in reversed(range(6))]
    assert forward == backward[::-1]
    assert sorted(len(sequence) for row in sum(forward, [])[:5] for sequence in row) == [3, 4, 5, 6, 7]


def test_tokens_are_counted_over_epochs_of_which_none_is_drawn_before_it_is_needed() -> None:
    sources = [Source(SourceSection("a"), sequences([3, 4])), Source(SourceSection("b", weight=0.5), sequences([5, 9]))]
    batches = Batches(sources, context=10, packing=False, seed=1)
    rows = [sum(map(len, row)) for number in range(3) for row in batches.epoch(number)]
    batches.epoch.cache_clear()
    assert [batches.tokens(n) for n in range(4)] == [sum(rows[:n]) for n in range(4)]
    assert batches.epoch.cache_info().misses == 1
    assert [batches.tokens(n) for n in (9, 2, 4)] == [sum(rows[:n]) for n in (9, 2, 4)]


def test_a_row_of_many_levels_is_refused_by_its_number(tmp_path: Path, tokenizer: Tokenizer) -> None:
    levels = 700
    nested = '{"messages": [{"role": "user", "content": ' + "[" * levels + "]" * levels + "}]}"
    (tmp_path / "rows.jsonl").write_text(nested)
    with pytest.raises(ArgumentError, match="Row 1 of rows.jsonl is no example of the format messages"):
        read_source(tmp_path, SourceSection("rows.jsonl"), tokenizer, 500, tokenizer.vocab_size)
