"""Whether a loaded model computes what it should, before anybody is served by it.

What a user sees of a broken file or a wrong kernel is endless "GGGG" or noise. Three things tell, in a fraction of the
time that loading takes: numbers that are not finite, rows that do not depend on the tokens, and a first layer that
the scalar kernels, which are short and obvious, compute differently.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sterna.engine.backend import Span
from sterna.engine.devices import open_backend
from sterna.engine.head import sample_ids
from sterna.engine.llm import LLM
from sterna.engine.options import ACTIVATIONS
from sterna.errors import FormatError, UnsupportedError, warn
from sterna.model.architectures import build_plan
from sterna.model.operations import Linear
from sterna.model.plan import Head, Plan

TOKENS = 8
"""Tokens of a pass: enough for the kernels that take several rows, and few enough for the scalar ones."""

TOLERANCE = 1e-3
"""Hidden rows count as equal where no value differs by more than this share of the largest one. Kernels that are right
give the same bits."""

GPU_TOLERANCE = 1e-2
"""The same for a GPU, which adds floats in another order: rounded to int8, they may differ by a whole code."""


def check_answers(llm: LLM) -> None:
    """Raises `FormatError` for a model whose results cannot be what its file was made for, and `UnsupportedError` where
    this machine's kernels compute it wrongly. Warns where it predicts a sentence worse than chance does."""
    tokenizer = llm.tokenizer if llm.checkpoint.has_tokenizer else None
    ids = sample_ids(tokenizer, llm.vocab_size)[: min(TOKENS, llm.context_length)]
    hidden = llm.hidden(ids)
    logits = llm.head(hidden)
    if not np.isfinite(logits).all():
        raise FormatError(f"{llm.checkpoint.name!r} computes numbers that are not finite; is its file whole?")
    if len(set(ids)) > 1 and np.allclose(hidden, hidden[0], rtol=0, atol=TOLERANCE * float(np.abs(hidden).max())):
        raise FormatError(f"{llm.checkpoint.name!r} computes the same for every token; is its file whole?")
    if llm.device != "cpu" or llm.isa != "scalar":
        _compare_with_scalar(llm)
    if tokenizer is not None and _surprise(logits, ids) > np.log(llm.vocab_size):
        warn(
            f"{llm.checkpoint.name!r} knows less about plain English than chance does: its weights are random, or the "
            "file is not what its name says."
        )


def _compare_with_scalar(llm: LLM) -> None:
    """Raises `UnsupportedError` where the first layers come out otherwise than with scalar kernels."""
    own, scalar = _first_rows(llm, llm.device, llm.isa), _first_rows(llm, "cpu", "scalar")
    tolerance = TOLERANCE if llm.device == "cpu" else GPU_TOLERANCE
    if not float(np.abs(own - scalar).max()) <= tolerance * float(np.abs(scalar).max()):
        kernels, instead = (
            (llm.isa, "set STERNA_ISA=scalar") if llm.device == "cpu" else ("GPU's", "use the device cpu")
        )
        raise UnsupportedError(
            f"The {kernels} kernels compute {llm.checkpoint.name!r} otherwise than the scalar ones; {instead}, and "
            "please report it."
        )


def _first_rows(llm: LLM, device: str, isa: str) -> np.ndarray:
    """What the first layers give for a few tokens, float32 [n, hidden_size]: all but one together, then the last."""
    plan = _first_layers(llm)
    ids = [token % plan.vocab_size for token in range(TOKENS)]
    tensors, kv = llm.checkpoint.tensors, llm.options.kv
    backend = open_backend(device, plan, tensors, isa=isa, threads=llm.threads, blocks=1, kv=kv, mmap=False)
    backend.settle()
    tables = [[0]] * len(backend.pools)
    several = backend.forward([Span(ids[:-1], 0, tables, len(ids) - 1)])
    one = backend.forward([Span(ids[-1:], len(ids) - 1, tables)])
    return np.concatenate([backend.to_numpy(several, 0, len(several)), backend.to_numpy(one, 0, 1)])


def _first_layers(llm: LLM) -> Plan:
    """The plan of the layers up to the first with attention. Its head is never multiplied: where that is possible it is
    one of their matrices, since the real one may be larger than all these layers."""
    config = llm.checkpoint.config
    layers = next((layer for layer in range(config.num_layers) if config.has_attention(layer)), 0) + 1
    activations = ACTIVATIONS[llm.options.activations]
    plan = build_plan(replace(config, num_layers=layers), llm.checkpoint.tensors, activations=activations)
    tensors = llm.checkpoint.tensors
    matrices = [tensors[operation.weight] for operation in plan.operations if isinstance(operation, Linear)]
    for matrix in sorted(matrices, key=lambda matrix: matrix.shape[0]):
        rows, columns = matrix.shape
        if columns == config.hidden_size and rows <= config.vocab_size:
            return replace(plan, head=Head(matrix.name), vocab_size=rows)
    return plan


def _surprise(logits: np.ndarray, ids: list[int]) -> float:
    """The mean negative log-probability, in nats, of each token after those before it."""
    rows, following = logits[:-1], ids[1:]
    if not following:
        return 0.0
    most = rows.max(axis=1)
    normalizers = most + np.log(np.exp(rows - most[:, None]).sum(axis=1))
    return float(np.mean(normalizers - rows[np.arange(len(following)), following]))
