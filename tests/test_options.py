"""What options may be, and what is said of those that cannot be."""

from __future__ import annotations

import typing
from dataclasses import fields

import numpy as np
import pytest

from sterna import LLM
from sterna.cli.options import flag_labels
from sterna.engine.checks import Number, Strings, Switch, Whole
from sterna.engine.options import I2S_LAYOUTS, EngineOptions
from sterna.engine.sampling import SamplingParams
from sterna.errors import ArgumentError, OptionError
from sterna.ternary.i2s import LAYOUTS


@pytest.fixture(scope="module")
def llm() -> LLM:
    """The embedded model."""
    return LLM(threads=1)


def test_numbers_of_numpy_are_numbers() -> None:
    engine = EngineOptions(threads=np.int64(2), ctx=np.uint16(100), pool_tokens=np.int32(900))
    assert (engine.threads, engine.ctx, engine.pool_tokens) == (2, 100, 900)
    assert {type(value) for value in (engine.threads, engine.ctx, engine.pool_tokens)} == {int}
    sampling = SamplingParams(
        max_tokens=np.int8(3),
        temperature=np.float16(0.5),
        top_p=np.float32(0.5),
        seed=np.uint64(2**64 - 1),
        ignore_eos=np.bool_(True),
        stop=np.str_("x"),
        logit_bias={np.int32(4): np.float32(1)},
    )
    for entry in fields(sampling):
        value = getattr(sampling, entry.name)
        assert type(value) in (int, float, bool, tuple, dict, type(None)), entry.name
    assert sampling.seed == 2**64 - 1 and sampling.stop == ("x",) and sampling.logit_bias == {4: 1.0}


def test_a_model_runs_with_numbers_of_numpy() -> None:
    llm = LLM(ctx=np.int64(100), threads=np.int64(1))
    assert llm.context_length == 100
    assert llm.generate("Once", max_tokens=np.int64(4)) == llm.generate("Once", max_tokens=4)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"max_tokens": 0}, "max_tokens is a whole number from 1, or None for no limit, not 0."),
        ({"max_tokens": -1}, "max_tokens is a whole number from 1, or None for no limit, not -1."),
        ({"seed": -1}, "seed is a whole number from 0 to 18446744073709551615, or None for a random one, not -1."),
        ({"temperature": float("nan")}, "temperature is a number from 0, not nan."),
        ({"temperature": None}, "temperature is a number from 0, not None."),
        ({"top_p": 0}, "top_p is a number above 0, at most 1, not 0."),
        ({"min_p": 2}, "min_p is a number from 0 to 1, not 2."),
        ({"top_k": True}, "top_k is a whole number from 0 to 2147483647, not True."),
        ({"ignore_eos": "no"}, "ignore_eos is True or False, not 'no'."),
        ({"ignore_eos": 1}, "ignore_eos is True or False, not 1."),
        ({"stop": ""}, "stop is a string or a list of strings, none of them empty, not ''."),
        ({"stop": ["a", ""]}, "stop is a string or a list of strings, none of them empty, not ['a', '']."),
        ({"logit_bias": [1]}, "logit_bias is a mapping of token ids to numbers, not [1]."),
        ({"max_tokens": 3, "min_tokens": 4}, "min_tokens is at most max_tokens, 3, not 4."),
        ({"top_k": "x" * 100}, f"top_k is a whole number from 0 to 2147483647, not '{'x' * 56}...."),
        ({"frequency_penalty": 10**5000}, "frequency_penalty is a number, not this int."),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_values_are_named_with_what_would_be_right(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(OptionError) as caught:
        SamplingParams(**options)  # type: ignore[arg-type]
    assert str(caught.value) == sentence


def test_any_number_of_tokens_may_be_asked_for(llm: LLM) -> None:
    (completion,) = llm.complete(["Once"], max_tokens=10**12, ignore_eos=True)
    assert completion.prompt_tokens + completion.completion_tokens == llm.context_length


@pytest.mark.parametrize(
    ("name", "words"),
    [("temprature", "did you mean 'temperature'?"), ("max_new_tokens", "'max_tokens'?"), ("zzz", "these are: max_t")],
)
def test_an_unknown_option_is_named_with_the_nearest(llm: LLM, name: str, words: str) -> None:
    with pytest.raises(ArgumentError, match="^There is no option") as caught:
        llm.generate("Once", **{name: 1})
    assert f"'{name}'" in str(caught.value) and words in str(caught.value)


def test_options_given_in_the_wrong_place_are_refused(llm: LLM) -> None:
    with pytest.raises(ArgumentError, match="not 64"):
        llm.generate("Once", 64)  # type: ignore[call-overload]
    with pytest.raises(ArgumentError, match="EngineOptions"):
        LLM(None, SamplingParams())  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="did you mean 'threads'"):
        LLM(n_threads=2)


def test_flags_read_what_python_takes() -> None:
    assert Whole(1, none="for no limit").read("-n", "-1") is None
    assert Whole(1, none="for no limit").read("-n", "7") == 7
    assert Number(least=0).read("--temp", "1e-3") == 1e-3
    assert Strings().read("--stop", "a") == "a" and Switch().take("x", False) is False
    for rule, text in ((Whole(1), "1.5"), (Whole(1), ""), (Number(), "inf"), (Number(), "1,5"), (Strings(), "")):
        with pytest.raises(OptionError, match="^--flag is "):
            rule.read("--flag", text)


def test_flags_have_no_names_of_python() -> None:
    assert flag_labels()["max_tokens"] == "-n/--max-tokens" and flag_labels()["ctx"] == "-c/--ctx"
    assert all(label.startswith("-") for label in flag_labels().values())


def test_options_and_readers_know_the_same_layouts() -> None:
    assert I2S_LAYOUTS == LAYOUTS


def test_every_option_has_a_rule_that_takes_its_default() -> None:
    for kind in (EngineOptions, SamplingParams):
        options, hints = kind(), typing.get_type_hints(kind)
        for entry in fields(kind):
            assert entry.metadata["rule"].take(entry.name, getattr(options, entry.name)) == getattr(options, entry.name)
            assert entry.name in hints
