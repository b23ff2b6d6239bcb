"""The description of a model as JSON: what a training state carries."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterna.errors import FormatError, SternaError
from sterna.model.config import ModelConfig, config_from_dict
from sterna.model.validate import check_config

from .helpers import GEMMA3, QWEN3, TINY

CONFIGS = [TINY, QWEN3, GEMMA3, replace(TINY, rope_divisors=None, query_scale=0.5, sliding_window=7)]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def as_json(config: ModelConfig) -> dict[str, Any]:
    """A configuration after a round trip through JSON's text, as plain values."""
    raw: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return raw


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_what_was_written_is_read(config: ModelConfig) -> None:
    assert config_from_dict(as_json(config)) == config
    assert hash(config_from_dict(as_json(config))) == hash(config)


@given(name=st.sampled_from([*asdict(TINY), "colour"]), value=JSON, config=st.sampled_from(CONFIGS))
def test_any_value_is_read_or_refused(name: str, value: Any, config: ModelConfig) -> None:
    try:
        check_config(config_from_dict(as_json(config) | {name: value}))
    except SternaError:
        pass


@pytest.mark.parametrize(
    "change",
    [{"vocab_size": 1.5}, {"vocab_size": True}, {"num_layers": 1 << 60}, {"tied_head": 1}, {"rope_divisors": [1, "a"]}],
    ids=str,
)
def test_values_of_another_kind_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match=next(iter(change))):
        config_from_dict(as_json(TINY) | change)


def test_entries_that_are_missing_or_unknown_are_refused() -> None:
    raw = as_json(TINY)
    del raw["head_dim"]
    with pytest.raises(FormatError, match="no head_dim"):
        config_from_dict(raw)
    with pytest.raises(FormatError, match="'colour'"):
        config_from_dict(as_json(TINY) | {"colour": 1})
    with pytest.raises(FormatError, match="object"):
        config_from_dict([1])
