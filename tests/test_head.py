"""`LLM(head=...)`: the output matrix in fewer bits, and the error that is reported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sterna import LLM
from sterna.checkpoint import Checkpoint
from sterna.engine.backend import NO_ADAPTER, RowSampling
from sterna.engine.native import choose
from sterna.engine.sampling import SamplingParams
from sterna.errors import ArgumentError, FormatError, UnsupportedError
from sterna.tensor.decode import decode
from sterna.tensor.encode import encode
from sterna.tensor.encodings import Encoding

from .helpers import TINY, float_tensor, tiny_tensors

WIDE = replace(TINY, hidden_size=256, head_dim=64)
TOKENS = [3, 1, 4, 15, 92, 6]


def model(tied: bool = True) -> Checkpoint:
    config = replace(WIDE, tied_head=tied)
    return Checkpoint(config, tiny_tensors(config), {}, Path("tiny")).load()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("head", ["q8_0", "q6_k", "q4_0"])
def test_logits_are_those_of_the_requantised_matrix(head: str, tied: bool) -> None:
    checkpoint = model(tied)
    full, llm = LLM(checkpoint, threads=2), LLM(checkpoint, threads=2, head=head)
    hidden = llm.hidden(TOKENS)
    assert np.array_equal(hidden, full.hidden(TOKENS))  # the embedding is unchanged, tied or not
    matrix = decode(checkpoint.tensors["token_embd.weight" if tied else "output.weight"])
    expected = hidden.astype(np.float64) @ decode(encode("w", matrix, Encoding(head))).T
    np.testing.assert_allclose(llm.logits(TOKENS), expected, atol=2e-4 * np.abs(expected).max())
    assert llm.complete([TOKENS], max_tokens=4, ignore_eos=True)[0].token_ids[0] == int(expected[-1].argmax())


def test_the_error_is_reported_and_falls_with_the_bits() -> None:
    checkpoint = model()
    assert LLM(checkpoint).head_error is None
    errors = [LLM(checkpoint, head=head).head_error for head in ("q8_0", "q6_k", "q4_0")]
    assert all(error is not None and error.rows == 16 and 0.5 <= error.top1 <= 1 for error in errors)
    relative = [error.relative for error in errors if error]
    assert 0 < relative[0] < 0.01 < relative[1] < 0.03 < relative[2] < 0.12


def test_a_head_that_has_the_encoding_is_left_alone() -> None:
    checkpoint = model(tied=False)
    head = encode("output.weight", decode(checkpoint.tensors["output.weight"]), Encoding.Q6_K)
    checkpoint = replace(checkpoint, tensors={**checkpoint.tensors, "output.weight": head})
    llm = LLM(checkpoint, head="q6_k")
    assert llm.checkpoint is checkpoint and llm.head_error is None
    assert LLM(checkpoint, head="q4_0").checkpoint.tensors["output.weight"].encoding is Encoding.Q4_0


def test_what_cannot_be_is_one_sentence() -> None:
    with pytest.raises(ArgumentError, match="full, q8_0, q6_k, q4_0"):
        LLM(model(), head="q5_k")
    narrow = Checkpoint(TINY, tiny_tensors(), {}, Path("tiny"))
    with pytest.raises(UnsupportedError, match="blocks hold 256 weights: its rows have 64"):
        LLM(narrow, head="q6_k")
    assert LLM(narrow, head="q4_0").logits([1]).shape == (1, 96)
    checkpoint = model()
    embedding = decode(checkpoint.tensors["token_embd.weight"]).copy()
    embedding[5, 7] = np.inf
    broken = {**checkpoint.tensors, "token_embd.weight": float_tensor("token_embd.weight", embedding, Encoding.F16)}
    with pytest.raises(FormatError, match="not finite"):
        LLM(replace(checkpoint, tensors=broken), head="q8_0")


def test_another_engines_logits_are_chosen_from_as_the_engines_own() -> None:
    llm = LLM(model(), threads=2)
    hidden = llm.hidden(TOKENS)
    mask = np.full(-(-llm.vocab_size // 32), 0xFFFF, np.uint32)
    samplings = [
        RowSampling(SamplingParams(**params), seed=5, step=step, seen=[1, 2], generated=[2, 2], banned=[7], mask=mask)
        for step, params in enumerate(
            (
                {},
                {"temperature": 1.5},
                {"temperature": 2.0, "top_k": 9, "top_p": 0.8, "logprobs": 3},
                {"repetition_penalty": 1.3, "presence_penalty": 0.5, "frequency_penalty": 0.2},
                {"logit_bias": {11: 50.0}},
                {"temperature": 1.0, "min_p": 0.1, "logprobs": 0},
            )
        )
    ]
    backend = llm._loop.backend
    expected = backend.select(hidden, range(len(hidden)), samplings, [NO_ADAPTER] * len(hidden))
    chosen = choose(llm.head(hidden), samplings)
    assert [vars(choice) for choice in chosen] == [vars(choice) for choice in expected]
    with pytest.raises(ValueError, match="one sampling for each row"):
        choose(llm.head(hidden), samplings[:2])
    with pytest.raises(ValueError, match="must not be empty"):
        choose(np.zeros((1, 0), np.float32), samplings[:1])
