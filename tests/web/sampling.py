"""What the native engine chooses, for the browser's to choose the same: from given logits, and whole texts."""

from __future__ import annotations

from typing import Any

import numpy as np

from sterna import LLM, _native
from sterna.engine.native import native_tensors
from sterna.model.operations import Embed, Slot, Weight
from sterna.model.plan import Head, Plan
from sterna.tensor.encode import encode
from sterna.tensor.encodings import Encoding

VOCABULARY = 300
TOKENS = 12
PROMPT = [3, 40, 41, 299]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.7},
    {"temperature": 1.0, "topK": 5},
    {"temperature": 2.0, "topK": 40},
    {"temperature": 1.5, "topK": 299},
    {"temperature": 1.0, "topP": 0.3},
    {"temperature": 3.0, "topP": 0.9},
    {"temperature": 1.0, "minP": 0.2},
    {"temperature": 2.0, "topK": 90, "topP": 0.95, "minP": 0.01},
    {"temperature": 1.0, "repetitionPenalty": 1.3, "presencePenalty": 0.5, "frequencyPenalty": 0.25},
    {"repetitionPenalty": 1.1, "frequencyPenalty": 0.5},
    {"temperature": 0.5, "logitBias": {"7": 6.5, "3": -100.0, "100000": 4.0}},
]
SEEDS = [0, 7, 2**53 - 1]
TEXT = "The ship sailed from London on the first of May,"
TEXTS: list[tuple[dict[str, Any], int]] = [
    ({}, 64),
    ({"frequencyPenalty": 1.0}, 32),
    ({"temperature": 0.7, "topK": 3, "seed": 289}, 32),
]
"""Options, and how many tokens are written with them."""


def cases() -> dict[str, Any]:
    """Logits, and for each of some options and seeds the tokens that are chosen one after another."""
    eighths = np.round(np.random.default_rng(5).normal(size=VOCABULARY) * 16).astype(int)
    model = copying_model()
    written = [
        {"options": asked, "ids": choices(model, eighths / 8, asked)}
        for options in OPTIONS
        for seed in SEEDS[: None if options.get("temperature") else 1]
        for asked in [options | {"seed": seed}]
    ]
    return {"eighths": eighths.tolist(), "prompt": PROMPT, "cases": written}


def copying_model() -> _native.Model:
    """A model whose logits are the hidden row."""
    tensor = encode("head", np.eye(VOCABULARY, dtype=np.float32), Encoding.F32)
    plan = Plan(
        VOCABULARY,
        Head("head", tensor.encoding.activations),
        output="hidden",
        slots={"hidden": VOCABULARY},
        operations=[Embed(Slot("hidden"), Weight("head"))],
    )
    return _native.Model(
        plan.to_dict(), {"head": native_tensors([tensor], 1)["head"]}, _native.available_isas()[-1], 1, True
    )


def choices(model: _native.Model, logits: np.ndarray, options: dict[str, Any]) -> list[int]:
    ids: list[int] = []
    for step in range(TOKENS):
        sampling = _native.Sampling()
        sampling.temperature = options.get("temperature", 0.0)
        sampling.top_k = options.get("topK", 0)
        sampling.top_p = options.get("topP", 1.0)
        sampling.min_p = options.get("minP", 0.0)
        sampling.repetition_penalty = options.get("repetitionPenalty", 1.0)
        sampling.presence_penalty = options.get("presencePenalty", 0.0)
        sampling.frequency_penalty = options.get("frequencyPenalty", 0.0)
        sampling.logit_bias = [(int(token), bias) for token, bias in options.get("logitBias", {}).items()]
        sampling.seed, sampling.step = options["seed"], step
        sampling.seen, sampling.generated = [*PROMPT, *ids], list(ids)
        row = logits[None].astype(np.float32)
        chosen, _, _ = model.select(row, [sampling], np.zeros(1, np.int32), [], 1)
        ids.append(int(chosen[0]))
    return ids


def written(llm: LLM) -> dict[str, Any]:
    """What a model writes after a prompt with each of `TEXTS`."""
    ids = llm.tokenizer.encode(TEXT)
    return {"ids": ids, "texts": [text(llm, ids, options, tokens) for options, tokens in TEXTS]}


def text(llm: LLM, ids: list[int], options: dict[str, Any], tokens: int) -> dict[str, Any]:
    """A text with the margin of each choice: how far the best logit lies above the second; or the random number from
    those that give another token, or the chance of the last of the top K above the next. Where it is small, another
    engine may choose otherwise."""
    temperature, penalty = options.get("temperature", 0.0), options.get("frequencyPenalty", 0.0)
    top_k, seed = options.get("topK", 0), options.get("seed", 0)
    (completion,) = llm.complete(
        [ids],
        max_tokens=tokens,
        ignore_eos=True,
        temperature=temperature,
        top_k=top_k,
        seed=seed,
        frequency_penalty=penalty,
    )
    logits = llm.logits([*ids, *completion.token_ids])[len(ids) - 1 : -1].astype(np.float64)
    margins = []
    for step, (row, chosen) in enumerate(zip(logits, completion.token_ids, strict=True)):
        for token in completion.token_ids[:step]:
            row[token] -= penalty
        if temperature:
            chances = np.exp((row - row.max()) / temperature)
            after, last = np.sort(chances)[-top_k - 1 :][:2]
            chances[chances < last] = 0.0
            ends = np.append(np.cumsum(chances), 0.0) / chances.sum()
            number = uniform(seed, step)
            margins.append(min(number - ends[chosen - 1], ends[chosen] - number, (last - after) / chances.sum()))
        else:
            second, first = np.sort(row)[-2:]
            margins.append(first - second)
    shown = [round(float(margin), 4) for margin in margins]
    return {"options": options, "ids": list(completion.token_ids), "text": completion.text, "margins": shown}


def uniform(seed: int, step: int) -> float:
    """The random number in [0, 1) of a step (SplitMix64, Steele et al., 2014)."""
    most = 2**64 - 1
    z = (seed * 0x9E3779B97F4A7C15 + (step + 1) * 0xD1B54A32D192ED03) & most
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & most
    z = (z ^ z >> 27) * 0x94D049BB133111EB & most
    return ((z ^ z >> 31) >> 11) * 2.0**-53
