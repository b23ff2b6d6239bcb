"""Rotary frequencies: hostile configurations, and known values."""

from __future__ import annotations

from math import isfinite
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sterna.checkpoint.gguf.rope import read_scaling
from sterna.checkpoint.hf.rope import read_rope
from sterna.errors import SternaError
from sterna.files.gguf.metadata import Keys
from sterna.model.rope import base_frequencies, llama3_divisors, yarn_attention_factor, yarn_divisors

NUMBERS = (
    st.none() | st.booleans() | st.integers(-10, 1 << 70) | st.floats() | st.sampled_from([0, 1e-300, 1e300, "8", []])
)
HF_KEYS = ("factor", "original_max_position_embeddings", "rope_theta", "attention_factor", "mscale", "mscale_all_dim")
HF_KEYS += ("beta_fast", "beta_slow", "low_freq_factor", "high_freq_factor", "truncate")
GGUF_KEYS = ("factor", "original_context_length", "attn_factor", "yarn_beta_fast", "yarn_beta_slow", "yarn_attn_factor")


def check(divisors: tuple[float, ...] | None, head_dim: int) -> None:
    """Asserts that `check_config` can judge the divisors: floats, one for each pair."""
    assert divisors is None or len(divisors) == head_dim // 2
    assert divisors is None or all(isinstance(divisor, float) for divisor in divisors)


@given(
    st.sampled_from(["default", "linear", "llama3", "yarn", "dynamic", 3]),
    st.dictionaries(st.sampled_from(HF_KEYS), NUMBERS),
    st.sampled_from([2, 64, 128]),
)
@settings(max_examples=500, deadline=None)
def test_scaling_of_folders_is_numbers_or_an_error(kind: Any, keys: dict[str, Any], head_dim: int) -> None:
    raw = {"rope_scaling": {"rope_type": kind} | keys, "max_position_embeddings": 4096}
    try:
        rope = read_rope(raw, head_dim, 10000.0)
    except SternaError as error:
        assert str(error).endswith(".") and "\n" not in str(error)
    else:
        check(rope.divisors, head_dim)
        assert isfinite(rope.attention_factor) and rope.context_length >= 4096


@example("yarn", {"yarn_beta_fast": float("nan")}, 2.0)
@example("yarn", {"original_context_length": 1e-300, "yarn_beta_fast": 1e300}, 1.0 + 2**-52)
@given(
    st.sampled_from(["none", "linear", "yarn", "longrope"]),
    st.dictionaries(st.sampled_from(GGUF_KEYS), st.integers(-10, 1 << 63) | st.floats()),
    st.floats() | st.just(10000.0),
)
@settings(max_examples=500, deadline=None)
def test_scaling_of_gguf_files_is_numbers_or_an_error(kind: str, keys: dict[str, Any], theta: float) -> None:
    metadata = {"llama.rope.scaling.type": kind} | {f"llama.rope.scaling.{key}": value for key, value in keys.items()}
    try:
        divisors, _ = read_scaling(Keys(metadata, "llama"), None, theta, 64, 4096)
    except SternaError as error:
        assert str(error).endswith(".") and "\n" not in str(error)
    else:
        check(divisors, 64)


def test_fast_pairs_keep_their_frequency_and_slow_ones_are_divided() -> None:
    for divisors in (
        llama3_divisors(500000.0, 128, factor=8.0, low=1.0, high=4.0, original_context=8192),
        yarn_divisors(1000000.0, 128, factor=8.0, original_context=8192),
    ):
        assert divisors[0] == 1 and divisors[-1] == pytest.approx(8) and list(divisors) == sorted(divisors)
        assert any(1 < divisor < 8 for divisor in divisors)
    assert base_frequencies(10000.0, 4) == [1.0, pytest.approx(0.01)]
    assert yarn_attention_factor(1.0) == 1 and yarn_attention_factor(4.0) == pytest.approx(1.1386294)


def test_older_and_newer_keys_say_the_same() -> None:
    context = {"max_position_embeddings": 8192}
    yarn = {"factor": 4.0, "original_max_position_embeddings": 4096}
    older = {"rope_theta": 1e6, "rope_local_base_freq": 500.0, "rope_scaling": {"type": "yarn"} | yarn}
    full = {"rope_type": "yarn", "rope_theta": 1e6} | yarn
    newer = {"full_attention": full, "sliding_attention": {"rope_type": "default", "rope_theta": 500.0}}
    rope = read_rope(context | older, 64, 10000.0)
    assert rope == read_rope(context | {"rope_parameters": newer}, 64, 10000.0)
    assert (rope.theta, rope.local_theta, rope.context_length) == (1e6, 500.0, 16384)
    assert read_rope(context | {"rope_scaling": None}, 64, 500000.0).theta == 500000.0
