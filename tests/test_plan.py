"""What `sterna plan` computes: bytes against written files, rooflines, costs, and the claims that it derives."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import pytest

from sterna.bench.sizing import figure as plan_figure
from sterna.bench.sizing import trial
from sterna.bench.sizing.claims import claims
from sterna.bench.sizing.cost import cost, per_million, speed_for
from sterna.bench.sizing.machines import MACHINES, MachineFacts, machine, read_machine
from sterna.bench.sizing.memory import cache_bytes, kv_bytes, state_bytes
from sterna.bench.sizing.shapes import PUBLISHED, Sized, parameters, sized
from sterna.bench.sizing.sizing import Scenario, advice, size_up
from sterna.bench.sizing.speed import prefill_tps, step_seconds
from sterna.bench.sizing.trial import layers_for, pass_seconds, slice_of
from sterna.bench.sizing.weights import BODIES, bits, body_encoding, of_tensors, planned
from sterna.bench.synthetic import random_checkpoint
from sterna.checkpoint import open_checkpoint
from sterna.checkpoint.convert import convert
from sterna.engine.llm import LLM
from sterna.engine.options import EngineOptions
from sterna.errors import ArgumentError, FormatError, NotFoundError, UnsupportedError
from sterna.model.validate import tensor_shapes
from sterna.tensor.encodings import Encoding

from .command import sterna
from .helpers import GEMMA3, QWEN35, TINY

SMALL = replace(TINY, hidden_size=256, intermediate_size=512, num_heads=4, head_dim=64, vocab_size=4096)
OPTIONS = EngineOptions(threads=1)
MACHINE = MachineFacts("m", memory_gbs=100.0, memory_gb=8.0, int8_gmacs=1000.0)


@pytest.mark.parametrize("body", [Encoding.TQ1_0, Encoding.I2_S, Encoding.TQ2_0, Encoding.F16])
def test_the_weights_of_a_plan_are_those_of_a_written_file(body: Encoding, tmp_path: Path) -> None:
    path = tmp_path / "written.gguf"
    convert("sterna-tern", path, type=body.value, head="f16")
    written = open_checkpoint(path).load()
    weights = planned(written.config, body, Encoding.F16)
    assert weights == of_tensors(written.config, written.tensors)
    header = path.stat().st_size - weights.bytes
    assert 0 < header < 0.05 * path.stat().st_size  # with a vocabulary; of larger models it is less than 1 %


@pytest.mark.parametrize(
    ("name", "layers", "tq1_0", "i2_s"),
    [("2B4T", 2.084, 0.44, 0.52), ("3B", 3.222, 0.68, 0.81), ("70B", 64.76, 13.7, 16.2), ("100B", 99.96, 21.1, 25.0)],
)
def test_published_shapes_have_the_published_sizes(name: str, layers: float, tq1_0: float, i2_s: float) -> None:
    config = sized(name).config
    weights = planned(config, Encoding.TQ1_0, Encoding.F16)
    assert weights.layer_parameters / 1e9 == pytest.approx(layers, rel=1e-3)
    if name != "3B":  # whose rows do not all fill the blocks of TQ1_0
        assert weights.layers / 1e9 == pytest.approx(tq1_0, rel=0.01)
    assert planned(config, Encoding.I2_S, Encoding.F16).layers / 1e9 == pytest.approx(i2_s, rel=0.01)
    assert weights.parameters == parameters(config) == sum(prod(shape) for shape in tensor_shapes(config).values())


def test_keys_and_values_are_those_of_the_engine() -> None:
    assert kv_bytes(sized("2B4T").config, 1024) == 78_643_200 and kv_bytes(sized("3B").config, 1000) == 332_800_000
    assert kv_bytes(TINY, 10, "int8") == 2 * 10 * 2 * (16 + 4) * 2
    windowed = replace(GEMMA3, sliding_window=4)
    assert kv_bytes(windowed, 100) == 2 * (100 + 4 + 4) * 48 * 2
    llm = LLM(random_checkpoint(SMALL, {}, "x"), threads=1)
    llm.complete([[1] * 40], max_tokens=1, ignore_eos=True)
    assert llm.statistics.cache_bytes == cache_bytes(SMALL, 40, 1)


def test_layers_without_attention_keep_states_in_place_of_keys() -> None:
    assert kv_bytes(QWEN35, 10) == 2 * 10 * QWEN35.num_kv_heads * QWEN35.head_dim * 2  # one of three layers
    assert state_bytes(TINY) == 0 and state_bytes(QWEN35) == 4 * 2 * (6 * 16 * 24 + 3 * (2 * 32 + 144))


def test_a_size_without_a_shape_is_scaled_and_says_so() -> None:
    found = sized("34B")
    assert "assumed: 70B scaled" in found.source and parameters(found.config) == pytest.approx(34e9, rel=0.1)
    assert sized("7b").config == sized("7B").config and "published" in sized("2b4t").source
    for wrong in ("", "7", "B", "-3B", "0B", "1e9B", "nanB", "9" * 7 + "B"):
        with pytest.raises(ArgumentError, match="--params is a number"):
            sized(wrong)


@pytest.mark.parametrize("text", ["0.001B", "1K", "400000T"])
def test_sizes_that_no_model_has_do_not_break_a_plan(text: str) -> None:
    try:
        planned(sized(text).config, Encoding.I2_S, Encoding.F16)
    except FormatError as error:
        assert str(error).endswith(".")


def test_bits_name_the_smallest_encoding_that_has_them() -> None:
    assert body_encoding("1.58") is Encoding.TQ1_0 and body_encoding("2") is Encoding.I2_S
    assert body_encoding("Q4_0") is body_encoding("4") is Encoding.Q4_0 and body_encoding("16") is Encoding.F16
    assert [bits(body) for body in BODIES] == sorted(bits(body) for body in BODIES)
    for wrong in ("", "0", "-1", "nan", "17", "inf", "q9"):
        with pytest.raises(ArgumentError, match="--bits"):
            body_encoding(wrong)


def test_a_step_takes_as_long_as_its_bytes_or_its_multiply_adds() -> None:
    config, weights = sized("2B4T").config, planned(sized("2B4T").config, Encoding.I2_S, Encoding.F16)
    alone, by = step_seconds(weights, config, 0, 1, "f16", MACHINE, ideal=True)
    assert alone == pytest.approx(weights.bytes / 100e9) and by == "bytes"
    many, by = step_seconds(weights, config, 0, 64, "f16", MACHINE, ideal=True)
    assert many == pytest.approx(64 * (weights.layer_parameters + weights.head_parameters) / 1e12)
    assert by == "instructions"
    later, _ = step_seconds(weights, config, 4096, 1, "f16", MACHINE, ideal=True)
    assert later - alone == pytest.approx(kv_bytes(config, 4096) / 100e9)
    assert prefill_tps(weights, MACHINE) == pytest.approx(0.5e12 / weights.layer_parameters)
    assert prefill_tps(weights, replace(MACHINE, int8_gmacs=None)) is None


def test_what_does_not_fit_is_told_with_what_would(tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    path.write_text(json.dumps({"memory_gbs": 50, "memory_gb": 24}))
    scenario = Scenario(Encoding.I2_S, Encoding.Q6_K, 512, 1, 500, 200)
    result = size_up(sized("100B"), scenario, str(path), OPTIONS)
    assert result.memory.fits is False and result.speed.prefill_tps is None and result.joules_per_token is None
    # TQ1_0 is smaller in a file, and I2_S in memory.
    assert advice(result.memory, result.others) == "that does not fit; q1_0, ptq1_0 would"
    assert size_up(sized("100B"), scenario, "M2 Ultra", OPTIONS).memory.fits is True


def test_costs_follow_from_speeds() -> None:
    assert per_million(2.31, 2141) == pytest.approx(0.30, rel=1e-2) and speed_for(2.31, 0.3) == pytest.approx(
        2139, abs=1
    )
    found = cost(3.6, 1000.0, 100.0, 500, 200, api_per_million=2.0)
    assert (found.input, found.output) == pytest.approx((1.0, 10.0))
    assert found.blended == pytest.approx(3.6 / 3600 * 2.5 / 700 * 1e6)  # half a second and two a request
    assert found.busy_share == pytest.approx(found.blended / 2) and found.requests_per_hour == pytest.approx(
        3.6 / 1.4e-3
    )
    assert cost(1.0, None, 10.0, 1, 1, 2.0).busy_share is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "{",
        "[" * 100_000,
        '{"memory_gb": 8}',
        '{"memory_gbs": -1}',
        '{"memory_gbs": true}',
        '{"memory_gbs": 1e400}',
        '{"memory_gbs": null}',
        '{"memory_gbs": 5, "x": 1}',
        '{"memory_gbs": 5, "name": 3}',
    ],
)
def test_a_file_that_describes_no_machine_is_one_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    path.write_text(text)
    with pytest.raises(FormatError, match=r"machine\.json.*\.$"):
        read_machine(path)


def test_a_machine_without_a_file_is_one_sentence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")  # is not waited for
    for name in ("pipe.json", "none.json"):
        with pytest.raises(NotFoundError, match=r"cannot be read: .*\.$"):
            machine(str(tmp_path / name))


def test_machines_have_sources_and_dates() -> None:
    assert all(entry.source and entry.date for entry in MACHINES) and machine("m2 ultra").memory_gbs == 800
    with pytest.raises(ArgumentError, match="did you mean 'M2 Pro'"):
        machine("M2 Prp")


def test_a_trial_has_whole_periods_of_layers() -> None:
    hybrid = sized("bonsai2-4b").config
    assert layers_for(hybrid, planned(hybrid, Encoding.F16, Encoding.F16)) % 4 == 0
    assert layers_for(TINY, planned(TINY, Encoding.F16, Encoding.F16)) == TINY.num_layers
    small = slice_of(hybrid, 4, 64)
    assert small.num_layers == 4 and small.delta_net is not None and small.delta_net.layers == (0, 1, 2)
    large = sized("100B").config
    assert layers_for(large, planned(large, Encoding.I2_S, Encoding.F16)) == 1
    assert pass_seconds((1, 1, {"head": 1.0, "matrices": 2.0, "barriers": 0.5}), 4.0) == 11.0


def test_this_machine_is_measured() -> None:
    scenario = Scenario(Encoding.I2_S, Encoding.F16, 16, 2, 500, 200, per_hour=1.0)
    from sterna.bench.sizing.shapes import Sized

    result = size_up(Sized("small", SMALL, "here"), scenario, "here", OPTIONS)
    assert result.speed.streams == 2 and result.speed.decode_tps > 0 and (result.speed.prefill_tps or 0) > 0
    assert result.machine.memory_gbs > 0 and "2 of 2 layers" in result.speed.basis and result.cost is not None


def test_a_trial_that_fails_closes_its_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    engines: list[LLM] = []

    def fail(llm: LLM, prompts: object) -> None:
        engines.append(llm)
        raise ArgumentError("No room.")

    monkeypatch.setattr(trial, "run_streams", fail)
    with pytest.raises(ArgumentError, match="No room"):
        trial.measure_here(SMALL, Encoding.I2_S, Encoding.F16, 16, 2, OPTIONS)
    with pytest.raises(UnsupportedError, match="closed"):
        engines[0].complete([[1]], max_tokens=1)


def test_a_model_with_rotations_says_that_they_are_not_counted() -> None:
    scenario = Scenario(Encoding.PQ2_0, Encoding.PQ2_0, 512, 1, 500, 200)
    rotated, other = (size_up(sized(name), scenario, "M2", OPTIONS).speed for name in ("bonsai2-4b", "bonsai-8b"))
    assert rotated.basis.endswith("the rotations of its activations are not counted")
    assert "rotations" not in other.basis


def test_claims_are_computed_and_have_a_verdict() -> None:
    found = {claim.said: claim for claim in claims()}
    assert len(found) >= 20 and all(claim.formula and claim.gives and claim.verdict for claim in found.values())
    figures = {
        "100B in float16": "200.",
        "19.75": "19.8 GB by entropy",
        "12 to 15": "0.96 to 1.20 bits",
        "11 times against": "at most 10.1; TQ1_0 9.5, I2_S 8.0",
        "614": "243 + 125 + 96",
        "3.55": "ratio is 3.55",
        "7.16": "7.15",
        "8.9 times": "8.94",
        "5 to 7 tokens/s": "i9 cannot pass 3.",
        "28 to 38": "ceilings 89 and 17",
        "71.4 times less": "71.4 and 50.0; with 32-bit sums 16.7",
        "41.2": "41.5",
        "0.028": "0.0276 J a pass, 54",
        "$0.20": "70B $7.80, 100B $12.05",
        "6.7 in 4": "32%",
    }
    for words, figure in figures.items():
        (claim,) = [claim for said, claim in found.items() if words in said]
        assert figure in claim.gives, claim


def test_a_plan_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "plan.svg"
    drawn = sterna("plan", "--params", "2B4T", "--machine", "M2 Ultra", "-c", "4096", "-b", "8", "--plot", str(path))
    assert drawn.returncode == 0 and path.read_bytes().startswith(b"<?xml")
    for wrong, sentence in ((tmp_path / "plan.doc", "png, svg, pdf"), (tmp_path / "none" / "plan.svg", "is not there")):
        refused = sterna("plan", "--params", "2B4T", "--machine", "M2 Ultra", "--plot", str(wrong))
        assert refused.returncode == 2 and sentence in refused.stderr and not refused.stdout


def test_the_curves_of_a_plan_go_through_its_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a model's weights are not all of one encoding."""
    pytest.importorskip("matplotlib")
    drawn: list[Any] = []
    monkeypatch.setattr(plan_figure, "save", lambda of, path: drawn.append(of))
    uniform = planned(SMALL, Encoding.I2_S, Encoding.F16)
    scenario = Scenario(Encoding.I2_S, Encoding.F16, context=300, streams=80, prompt=1, output=1)
    mixed = replace(uniform, layers=3 * uniform.layers)
    sizing = size_up(Sized("m", SMALL, ""), scenario, "M2 Ultra", OPTIONS, weights=mixed)
    plan_figure.draw_plan(sizing, SMALL, scenario, OPTIONS.kv, tmp_path / "plan.svg")
    for axes in drawn[0].axes[1:]:  # whose last points are the context and the streams of the plan
        assert axes.lines[0].get_ydata()[-1] == pytest.approx(sizing.speed.decode_tps)


def test_the_verb_prints_a_plan_claims_and_machines() -> None:
    fields = json.loads(sterna("plan", "--params", "100B", "--machine", "M2 Ultra", "--price", "2", "--json").stdout)
    assert fields["body"] == "tq1_0" and fields["memory"]["fits"] and fields["cost"]["output"] > 0
    text = sterna(
        "plan", "--params", "100B", "--machine", "m2", "--bits", "2", "--price", "1", "--api-price", "3"
    ).stdout
    assert "that does not fit; q1_0 would" in text and "basis     75% of the bandwidth" in text
    assert "140 belongs to 70B" in sterna("plan", "--claims").stdout
    assert "Raspberry Pi 5" in sterna("plan", "--machines").stdout
    wrong = sterna("plan", "sterna-tern", "--params", "7B")
    assert wrong.returncode == 2 and wrong.stderr == "Error: Give a model or --params, not both.\n"
    assert sterna("plan", "--params", "7B", "--api-price", "3").returncode == 2
    assert set(PUBLISHED) >= {"2B4T", "70B", "100B"}
