"""The Python interface: generate, stream, chat, embed, logits, and what they refuse."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sterna import LLM, _native
from sterna.engine.machine import cpu_quota
from sterna.errors import ArgumentError, ContextLengthError, NotFoundError
from sterna.files.gguf.writer import write_gguf
from sterna.model.tokenizer import Tokenizer

from .helpers import EMBEDDED_CONTEXT, gguf_metadata, tiny_tensors


@pytest.fixture(scope="module")
def llm() -> LLM:
    """The embedded model."""
    return LLM(threads=2)


def test_text_in_text_out(llm: LLM) -> None:
    text = llm.generate("It was a dark", max_tokens=16)
    assert isinstance(text, str) and text
    assert llm.generate(["It was a dark", "She said"], max_tokens=16)[0] == text
    assert llm.generate(llm.tokenizer.encode("It was a dark"), max_tokens=16) == text


def test_stream_pieces_join_to_the_text(llm: LLM) -> None:
    options = {"max_tokens": 40, "temperature": 0.8, "seed": 3}
    assert "".join(llm.stream("Once", **options)) == llm.generate("Once", **options)


def test_the_same_seed_gives_the_same_text(llm: LLM) -> None:
    texts = [llm.generate("Once", max_tokens=24, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_greedy_takes_the_most_likely_token(llm: LLM) -> None:
    prompt = llm.tokenizer.encode("The old man")
    (completion,) = llm.complete([prompt], max_tokens=5, ignore_eos=True)
    ids = list(prompt)
    for token in completion.token_ids:
        assert token == int(llm.logits(ids)[-1].argmax())
        ids.append(token)


@pytest.mark.parametrize(
    "options", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}, {"temperature": 1e-4}], ids=lambda o: next(iter(o))
)
def test_narrow_sampling_is_greedy(llm: LLM, options: dict[str, float]) -> None:
    greedy = llm.generate("Once upon a", max_tokens=12)
    assert llm.generate("Once upon a", max_tokens=12, **{"temperature": 1.0, "seed": 9, **options}) == greedy


def test_samples_follow_the_distribution(llm: LLM) -> None:
    prompt = llm.tokenizer.encode("He took the")
    logits = llm.logits(prompt)[-1].astype(np.float64)
    top = np.argsort(-logits)[:4]
    p = np.exp(logits[top] - logits[top].max())
    drawn = [
        c.token_ids[0]
        for seed in range(600)
        for c in llm.complete([prompt], max_tokens=1, temperature=1.0, top_k=4, seed=seed, ignore_eos=True)
    ]
    shares = np.array([drawn.count(token) for token in top]) / len(drawn)
    assert np.abs(shares - p / p.sum()).max() < 0.08


def test_repetition_penalty_avoids_what_was_said(llm: LLM) -> None:
    (completion,) = llm.complete(["the the the"], max_tokens=30, repetition_penalty=1e6, ignore_eos=True)
    seen = set(llm.tokenizer.encode("the the the"))
    for token in completion.token_ids:
        assert token not in seen
        seen.add(token)


def test_a_stop_string_ends_the_text_before_it(llm: LLM) -> None:
    text = llm.generate("Once upon a time", max_tokens=40)
    stop = text[10:14]
    at = text.index(stop)
    (completion,) = llm.complete(["Once upon a time"], max_tokens=40, stop=stop)
    assert completion.text == text[:at] and completion.stop_reason == "stop" and completion.stop_string == stop
    (first,) = llm.complete(["Once upon a time"], max_tokens=40, stop=[text[20:], stop, text[30:]])
    assert first.stop_string == stop and llm.complete(["Once"], max_tokens=2)[0].stop_string is None
    pieces = list(llm.stream("Once upon a time", max_tokens=40, stop=[stop, "never there"]))
    assert "".join(pieces) == text[:at]


def test_a_full_context_ends_with_length() -> None:
    llm = LLM(ctx=40)
    (completion,) = llm.complete(["It was"], ignore_eos=True)
    assert completion.stop_reason == "length"
    assert completion.prompt_tokens + completion.completion_tokens == 40


def test_a_prompt_that_does_not_fit_is_a_clear_error(llm: LLM) -> None:
    with pytest.raises(ContextLengthError, match="has 2000 tokens"):
        llm.generate([5] * 2000)


def test_a_text_that_does_not_fit_is_not_encoded_to_its_end(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: list[str] = []
    encode = Tokenizer._encode_piece

    def counted(self: Tokenizer, encoder: Any, text: str) -> list[int]:
        pieces.append(text)
        return encode(self, encoder, text)

    monkeypatch.setattr(Tokenizer, "_encode_piece", counted)
    text = "The ship. " * 100_000
    with pytest.raises(ContextLengthError, match=f"has more than {EMBEDDED_CONTEXT - 1} tokens"):
        llm.generate(text)
    with pytest.raises(ContextLengthError, match=f"has more than {EMBEDDED_CONTEXT} tokens"):
        llm.embed([text])
    assert 0 < sum(map(len, pieces)) < len(text) / 5


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"min_p": 2.0},
        {"top_k": -1},
        {"max_tokens": 0},
        {"repetition_penalty": 0.0},
        {"seed": -1},
        {"seed": 1.5},
        {"top_k": 2.5},
        {"max_tokens": 2.5},
        {"max_tokens": True},
        {"temperature": "hot"},
        {"stop": [""]},
        {"stop": [1]},
        {"stop": 1},
        {"colour": "red"},
    ],
    ids=str,
)
def test_options_that_cannot_work_are_refused(llm: LLM, options: dict[str, object]) -> None:
    with pytest.raises(ArgumentError):
        llm.generate("Once", **{"max_tokens": 4, **options})


def test_bad_arguments_are_refused(llm: LLM) -> None:
    for options in (
        {"threads": 0},
        {"threads": "2"},
        {"ctx": 1},
        {"ctx": 10**6},
        {"ctx": 64.5},
        {"activations": "int4"},
    ):
        with pytest.raises(ArgumentError):
            LLM(**options)
    for model in (5, "", "a\0b"):
        with pytest.raises(ArgumentError):
            LLM(model)
    for prompts in (5, None, b"abc", iter(["a"]), [b"abc"], [[1.0, 2.0]], [None], [[True]], [np.array([0.5])]):
        with pytest.raises(ArgumentError):
            llm.generate(prompts, max_tokens=1)
    for hidden in (np.zeros(256), np.zeros((1, 256 * 40)), np.zeros((2, 255))):
        with pytest.raises(ArgumentError, match="shape"):
            llm.head(hidden)
    with pytest.raises(ArgumentError):
        llm.embed("text")
    with pytest.raises(ArgumentError, match="outside the vocabulary"):
        llm.logits([10**6])
    with pytest.raises(ArgumentError, match="empty"):
        llm.logits([])
    with pytest.raises(NotFoundError, match="/nowhere/model.gguf"):
        LLM("/nowhere/model.gguf")


def test_no_hidden_rows_have_no_logits(llm: LLM) -> None:
    assert llm.head(np.empty((0, llm.hidden_size), np.float32)).shape == (0, llm.vocab_size)


def test_without_a_seed_each_text_is_its_own(llm: LLM) -> None:
    assert len(set(llm.generate(["Once"] * 3, max_tokens=24, temperature=1.0))) > 1


def test_a_vocabulary_smaller_than_the_embedding_goes_on(tmp_path: Path) -> None:
    tokens = [chr(c) for c in range(33, 73)]
    vocabulary = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.tokens": tokens}
    write_gguf(tmp_path / "m.gguf", gguf_metadata() | vocabulary, tiny_tensors().values())
    (completion,) = LLM(tmp_path / "m.gguf").complete([[1, 2]], max_tokens=60, temperature=5.0, seed=0)
    assert max(completion.token_ids) >= len(tokens) and completion.completion_tokens == 60


def test_the_control_groups_quota_limits_threads(tmp_path: Path) -> None:
    for text, processors in (("250000 100000", 3), ("50000 100000", 1), ("max 100000", 1024), ("", 1024)):
        (tmp_path / "cpu.max").write_text(text)
        assert cpu_quota(tmp_path / "cpu.max") == processors
    assert cpu_quota(tmp_path / "missing") == 1024


def test_threads_and_isa_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STERNA_THREADS", "3")
    monkeypatch.setenv("STERNA_ISA", "scalar")
    llm = LLM()
    assert (llm.threads, llm.isa) == (3, "scalar")
    monkeypatch.setenv("STERNA_ISA", "vax")
    with pytest.raises(ArgumentError, match="vax"):
        LLM()


def test_logits_are_one_causal_pass(llm: LLM) -> None:
    ids = llm.tokenizer.encode("He looked at the sea and said nothing.")
    logits = llm.logits(ids)
    assert logits.shape == (len(ids), llm.vocab_size) and logits.dtype == np.float32
    assert np.array_equal(llm.logits(ids[:4]), logits[:4])


def test_embeddings_are_normalised(llm: LLM) -> None:
    vectors = llm.embed(["the sea", "the sea", "a house"])
    assert vectors.shape[0] == 3 and np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.array_equal(vectors[0], vectors[1]) and not np.array_equal(vectors[0], vectors[2])


def test_chat_uses_the_fallback_template(llm: LLM) -> None:
    answer = llm.chat([{"role": "user", "content": "Who are you?"}], max_tokens=8)
    assert isinstance(answer, str)
    assert answer == llm.generate(
        llm.tokenizer.encode_chat([{"role": "user", "content": "Who are you?"}]), max_tokens=8
    )


def test_many_prompts_share_batches_and_more_than_fit_wait(llm: LLM) -> None:
    prompts = [[i % 500 + 1] * (i % 70 + 1) for i in range(150)]
    together = llm.complete(prompts, max_tokens=6, ignore_eos=True)
    assert all(c.completion_tokens == 6 for c in together)
    for index in (0, 75, 149):
        assert llm.complete([prompts[index]], max_tokens=6, ignore_eos=True)[0].token_ids == together[index].token_ids


def test_concurrent_callers_get_their_own_texts(llm: LLM) -> None:
    prompts = ["Once", "The captain", "In the garden", "My dear"]
    expected = [llm.generate(prompt, max_tokens=20) for prompt in prompts]
    results: dict[int, str] = {}

    def work(index: int) -> None:
        results[index] = llm.generate(prompts[index], max_tokens=20)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [results[i] for i in range(len(prompts))] == expected


def test_the_code_3_is_found_wherever_it_is() -> None:
    clean = np.random.default_rng(0).choice(np.array([0b00011000, 0b10100101, 0b01000010], np.uint8), 75)
    tensors = [clean]
    for at in range(75):
        for shift in (0, 2, 4, 6):
            tensors.append(clean.copy())
            tensors[-1][at] |= 3 << shift
    assert _native.i2s_has_code_3(tensors) == [False] + [True] * 300
