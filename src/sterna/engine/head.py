"""Requantises the output matrix to fewer bits, and measures how far that changes the logits."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sterna import _native
from sterna.checkpoint.checkpoint import LoadedCheckpoint
from sterna.engine.native import native_tensors
from sterna.errors import FormatError, UnsupportedError
from sterna.model.operations import Embed, Slot, Weight
from sterna.model.plan import Head, Plan
from sterna.model.tokenizer import Tokenizer
from sterna.tensor.encodings import Encoding
from sterna.tensor.pages import release
from sterna.tensor.tensor import Tensor

SAMPLE = "It is a truth universally acknowledged, that a single man in possession of a good fortune"
"""Text whose hidden rows the error is measured on."""
RANDOM_TOKENS = 16
"""How many random tokens take its place where a model has no tokenizer."""


@dataclass(frozen=True)
class HeadError:
    """How far the logits of a requantised head are from those of the head in the file, over a few hidden rows."""

    relative: float
    """`||logits - full|| / ||full||` (Frobenius) over all rows."""
    top1: float
    """Share of rows whose most likely token is the same."""
    rows: int


def sample_ids(tokenizer: Tokenizer | None, vocab_size: int) -> list[int]:
    """The token ids of `SAMPLE`, or `RANDOM_TOKENS` ids below `vocab_size`, always the same ones."""
    if tokenizer is not None:
        return tokenizer.encode(SAMPLE)
    return np.random.default_rng(0).integers(0, vocab_size, RANDOM_TOKENS).tolist()


def head_tensor(checkpoint: LoadedCheckpoint) -> Tensor:
    """The output matrix, which may be the embedding too."""
    return checkpoint.tensors["token_embd.weight" if checkpoint.config.tied_head else "output.weight"]


def requantize_head(checkpoint: LoadedCheckpoint, head: str, *, isa: str, threads: int) -> LoadedCheckpoint:
    """The model with its output matrix in another encoding, one of `options.HEADS`; a tied embedding stays as it is.

    A head that has the encoding already is left alone. No memory is taken but for the new matrix. Raises
    `UnsupportedError` where rows do not fill the encoding's blocks, `FormatError` where a value is not finite.
    """
    tensor = head_tensor(checkpoint)
    if head in ("full", tensor.encoding.value):
        return checkpoint
    encoding = Encoding[head.upper()]
    if tensor.shape[1] % encoding.block:
        raise UnsupportedError(
            f"The head cannot be kept as {head}, whose blocks hold {encoding.block} weights: "
            f"its rows have {tensor.shape[1]}."
        )
    try:
        data = _native.requantize(native_tensors([tensor], threads)[tensor.name], head, isa, threads)
    except ValueError as error:
        raise FormatError(f"The head cannot be requantised: {error}") from None
    release(tensor.data)
    requantized = Tensor("output.weight", tensor.shape, encoding, data)
    return replace(
        checkpoint,
        config=replace(checkpoint.config, tied_head=False),
        tensors={**checkpoint.tensors, "output.weight": requantized},
    )


def measure_head(
    hidden: np.ndarray, logits: np.ndarray, full: LoadedCheckpoint, *, isa: str, threads: int
) -> HeadError:
    """Compares `logits` [n, vocab] of hidden rows [n, hidden_size] with those of the model's full head."""
    width = full.config.hidden_size
    tensor = head_tensor(full)
    plan = Plan(  # of the head alone
        full.config.vocab_size,
        Head("head", tensor.encoding.activations),
        output="hidden",
        slots={"hidden": width},
        operations=[Embed(Slot("hidden"), Weight("head"))],
    )
    natives = {"head": native_tensors([tensor], threads)[tensor.name]}
    model = _native.Model(plan.to_dict(), natives, isa, threads, True)
    expected = model.logits(hidden, np.zeros(len(hidden), np.int32), [], threads)
    return HeadError(
        relative=float(np.linalg.norm(logits - expected) / max(float(np.linalg.norm(expected)), 1e-30)),
        top1=float(np.mean(logits.argmax(axis=1) == expected.argmax(axis=1))),
        rows=len(hidden),
    )
