"""What `sterna bench` finds out about passes, streams and the machine. Speeds themselves are not tested."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sterna import _native
from sterna.bench.page import PeerSpeed, page, read_llama_bench
from sterna.bench.passes import PassReport, Work, bound, report
from sterna.bench.streams import PASSES, run_streams, stream_speed, tokens_of_streams
from sterna.bench.summary import summary
from sterna.bench.throughput import BenchResult, bench
from sterna.cli.main import app
from sterna.engine.llm import LLM
from sterna.engine.machine import cpu_name
from sterna.engine.options import EngineOptions
from sterna.errors import ArgumentError, FormatError, NotFoundError

MEMORY_GBS = 30.0


@pytest.fixture(scope="module")
def llm() -> LLM:
    return LLM(threads=2)


@pytest.fixture(scope="module")
def result() -> BenchResult:
    options = EngineOptions(threads=2)
    return bench(None, "sterna-tern", options, prompt_lengths=[8], decode_tokens=4, streams=[1, 3], repetitions=1)


@pytest.mark.parametrize(
    ("shares", "gbs", "by"),
    [
        ({"matrices": 0.7, "norm": 0.3}, {"matrices": 29.0}, "bytes"),
        ({"matrices": 0.7, "norm": 0.3}, {"matrices": 15.8}, "instructions"),
        ({"matrices": 0.9, "norm": 0.1}, {"matrices": 90.0}, "instructions"),  # from a cache
        ({"matrices": 0.4, "head": 0.3, "barriers": 0.3}, {"matrices": 31.0, "head": 12.0}, "bytes"),
        ({"matrices": 0.3, "head": 0.4, "barriers": 0.3}, {"matrices": 31.0, "head": 12.0}, "instructions"),
        ({"matrices": 0.3, "attention": 0.6, "barriers": 0.1}, {"matrices": 10.0, "attention": 27.0}, "bytes"),
        ({"matrices": 0.4, "barriers": 0.5, "norm": 0.1}, {"matrices": 28.0}, "barriers"),
        ({"matrices": 0.3, "python": 0.6, "barriers": 0.1}, {"matrices": 28.0}, "python"),
    ],
)
def test_a_pass_is_bound_by_what_takes_most_of_its_time(
    shares: dict[str, float], gbs: dict[str, float], by: str
) -> None:
    assert bound(shares, gbs, MEMORY_GBS) == by


def test_a_report_is_the_mean_of_its_passes() -> None:
    passes = [
        (1, 1, {"matrices": 0.020, "head": 0.010, "barriers": 0.001}),
        (1, 1, {"matrices": 0.030, "head": 0.010, "barriers": 0.009}),
    ]
    found = report(passes, Work({"matrices": 500_000_000, "head": 100_000_000}, 2_000_000_000), MEMORY_GBS)
    assert (found.tokens, found.ms, found.bound_by) == (1, pytest.approx(40), "instructions")
    assert found.gbs == pytest.approx({"matrices": 20, "head": 10}) and found.gmacs == pytest.approx(80)
    assert list(found.shares) == ["matrices", "head", "barriers"]
    assert found.shares == pytest.approx({"matrices": 0.625, "head": 0.25, "barriers": 0.125})


def test_parts_of_passes_add_up_to_no_more_than_their_time(llm: LLM) -> None:
    begin = time.perf_counter()
    with llm.profiled() as profile:
        llm.complete([[1, 2, 3, 4]], max_tokens=5, ignore_eos=True)
    elapsed = time.perf_counter() - begin
    assert [times[:2] for times in profile.passes] == [(4, 1)] + [(1, 1)] * 4
    times = [seconds for _, _, seconds in profile.passes]
    expected = {"embed", "norm", "quantize", "matrices", "rope", "attention", "gated", "add", "head", "choice"}
    for seconds in times:
        assert expected | {"barriers", "setup", "python"} >= seconds.keys() >= expected
        assert all(value > -1e-6 for value in seconds.values()) and seconds["matrices"] > 0
    assert 0 < sum(sum(seconds.values()) for seconds in times) <= elapsed


def test_a_profile_knows_what_a_pass_reads_and_computes(llm: LLM) -> None:
    with llm.profiled() as profile:
        llm.complete([[1]], max_tokens=1, ignore_eos=True)
    layers = [tensor for name, tensor in llm.checkpoint.tensors.items() if name.startswith("blk.")]
    matrices = [tensor for tensor in layers if len(tensor.shape) == 2]
    assert profile.matrix_bytes == sum(tensor.data.nbytes for tensor in matrices)
    assert profile.multiply_adds == sum(tensor.shape[0] * tensor.shape[1] for tensor in matrices)
    assert profile.head_bytes == llm.checkpoint.tensors["token_embd.weight"].data.nbytes


def test_a_profile_changes_no_token_and_ends_with_its_block(llm: LLM) -> None:
    def ids() -> list[int]:
        return llm.complete([[1, 2, 3]], max_tokens=8, temperature=0.0, ignore_eos=True)[0].token_ids

    with llm.profiled() as profile:
        inside = ids()
    assert inside == ids() and len(profile.passes) == 8


@pytest.mark.parametrize(("count", "depth"), [(1, 1), (5, 8), (64, 8), (96, 9), (128, 3)])
def test_streams_are_measured_while_all_decode(llm: LLM, count: int, depth: int) -> None:
    passes = run_streams(llm, [[1 + stream] * depth for stream in range(count)])
    assert [times[:2] for times in passes] == [(count, count)] * PASSES


def test_the_speed_of_streams_is_that_of_all_together() -> None:
    parts = {"matrices": 0.030, "head": 0.010, "choice": 0.005, "barriers": 0.002, "python": 0.003}
    speed = stream_speed([(4, 4, parts)] * 3)
    assert (speed.tps, speed.body_ms, speed.head_ms) == pytest.approx((80, 32, 10))


def test_streams_that_find_no_room_are_refused() -> None:
    assert tokens_of_streams(64, 8) == PASSES + 9
    with pytest.raises(ArgumentError, match="64 streams need a context of 25 tokens; here it has 24"):
        bench(None, "x", EngineOptions(threads=1, ctx=24), streams=[64])
    with pytest.raises(ArgumentError, match="no room for 9 streams"):
        run_streams(LLM(threads=1, ctx=64, pool_tokens=64), [[1 + stream] for stream in range(9)])


def test_a_measurement_tells_all_that_another_machine_needs(result: BenchResult) -> None:
    assert list(result.streams) == ["1", "3"] and all(speed.tps > 0 for speed in result.streams.values())
    assert result.bound_by.keys() == result.step.keys() == {"decode", "prefill"}
    for step in result.step.values():
        assert sum(step.shares.values()) == pytest.approx(1)
    assert result.line_ns is not None and len(result.line_ns_seen) == 2 and min(result.line_ns_seen) > 0
    assert result.machine.cpu and result.isa in result.machine.isas and result.machine.cores >= 1


def test_with_one_thread_there_is_no_line_between_threads() -> None:
    alone = bench(None, "x", EngineOptions(threads=1), prompt_lengths=[4], decode_tokens=2, repetitions=1)
    assert alone.line_ns is None and alone.line_ns_seen == [] and alone.memory_gbs_one_thread == alone.memory_gbs
    assert not any("cache line" in line for line in summary(alone))


def step(by: str, **shares: float) -> PassReport:
    return PassReport(1, 30.0, shares, {"matrices": 15.8, "head": 20.0}, 164.0, by)


@pytest.mark.parametrize(
    ("phase", "by", "sentence"),
    [
        ("decode", "instructions", "decode is bound by instructions: matrices read 15.8 GB/s where memory gives 30.2"),
        ("decode", "bytes", "decode is bound by bytes: matrices read 15.8 GB/s where memory gives 30.2"),
        ("decode", "barriers", "decode is bound by barriers: threads wait for each other for 8% of the time"),
        ("decode", "python", "decode is bound by Python: it takes 3% of the time"),
        (
            "prefill",
            "instructions",
            "prefill is bound by instructions: matrices do 164 G multiply-adds/s where int8 gives 469",
        ),
    ],
)
def test_one_line_says_what_bounds_a_phase(result: BenchResult, phase: str, by: str, sentence: str) -> None:
    made_up = step(by, matrices=0.87, barriers=0.08, python=0.03, norm=0.02)
    assert sentence in list(summary(replace(result, memory_gbs=30.2, int8_gmacs=469.0, step={phase: made_up})))


def test_shares_from_two_percent_on_are_named(result: BenchResult) -> None:
    steps = {
        "decode": step("bytes", matrices=0.93, norm=0.03, rope=0.019, add=0.019, python=0.002),
        "prefill": step("bytes", matrices=0.94, attention=0.06),
    }
    lines = [line.split() for line in summary(replace(result, step=steps))]
    assert [line for line in lines if line and "%" in line[-1] and len(line) == 3] == [
        ["matrices", "93.0%", "94.0%"],
        ["norm", "3.0%", "0.0%"],
        ["attention", "0.0%", "6.0%"],
        ["others", "4.0%", "0.0%"],
    ]


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ([28.0, 29.0, 31.0], ""),
        ([28.0, 29.0, 160.0], "the bus changed its state: a cache line took from 28 to 160 ns"),
        ([28.0, 5000.0], "another program took processors away: a cache line took up to 5000 ns"),
    ],
)
def test_doubtful_figures_of_several_threads_are_told(result: BenchResult, seen: list[float], said: str) -> None:
    doubts = [line for line in summary(replace(result, line_ns_seen=seen)) if "cache line took" in line]
    assert (not doubts and not said) or doubts[0].startswith(said)


def test_a_processor_has_its_generation_beside_its_name(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text("processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\n")
    assert cpu_name(path) == "AMD EPYC (family 25, model 17)"
    path.write_text("processor\t: 0\nBogoMIPS\t: 50.00\n")
    assert cpu_name(path) == cpu_name(tmp_path / "missing") != ""


def test_a_cache_line_takes_time_between_threads() -> None:
    assert _native.line_latency() > 0


def test_a_page_shows_the_measurements_beside_those_of_llama_bench(result: BenchResult, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [{"n_prompt": 16, "n_gen": 0, "avg_ts": 50.5}, {"n_prompt": 0, "n_gen": 8, "n_depth": 4, "avg_ts": 9}]
    (tmp_path / "llama.json").write_text(json.dumps(rows))
    peers = read_llama_bench(tmp_path / "llama.json")
    assert peers == [PeerSpeed(16, 0, 0, 50.5), PeerSpeed(0, 8, 4, 9.0)]
    text = page([replace(result, model="<b>"), replace(result, depth=100)], peers)
    assert text.startswith("<!doctype html>") and "<svg" in text and "prefill does" in text
    assert "<b>" not in text and ">llama-bench<" in text


def test_lists_of_lengths_and_threads_make_one_page(
    result: BenchResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The measurement is that of `result` every time, for each takes seconds."""
    pytest.importorskip("matplotlib")
    asked: list[dict[str, Any]] = []

    def measured(model: None, name: str, options: EngineOptions, **rest: Any) -> BenchResult:
        asked.append({"threads": options.threads, **rest})
        return replace(result, threads=options.threads or 1, depth=rest["depth"])

    monkeypatch.setattr("sterna.bench.throughput.bench", measured)
    peers, html = tmp_path / "llama.json", tmp_path / "report.html"
    peers.write_text(json.dumps([{"n_prompt": 16, "n_gen": 0, "avg_ts": 50.5}]))
    flags = ["-p", "8,16", "-n", "2,3", "--depth", "8,40", "-t", "1,2", "-b", "2", "--html", str(html), "--json"]
    app(["bench", *flags, "--llama-bench", str(peers)], standalone_mode=False)
    assert len(json.loads(capsys.readouterr().out)["runs"]) == len(asked) == 8
    assert [(run["threads"], run["depth"], run["decode_tokens"]) for run in asked[:4]] == [
        (1, 8, 2),
        (1, 8, 3),
        (1, 40, 2),
        (1, 40, 3),
    ]
    assert [run["prompt_lengths"] for run in asked] == ([[8, 16], [], [], []]) * 2
    assert [run["streams"] for run in asked] == [[2], [], [], []] * 2 and asked[4]["threads"] == 2
    text = html.read_text()
    for name in ("Sterna, 1 threads", "Sterna, 2 threads", "llama-bench", "streams together", "rooflines"):
        assert f">{name}" in text
    for wrong in (["-t", "0"], ["-n", "1,8"], ["-n", "8,x"], ["-p", ""]):
        with pytest.raises(ArgumentError):
            app(["bench", *wrong], standalone_mode=False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{}",
        "[1]",
        '[{"n_prompt": 1}]',
        '[{"n_prompt": 1, "n_gen": 0, "avg_ts": "x"}]',
        '[{"n_prompt": 1e999}]',
    ],
)
def test_what_llama_bench_did_not_write_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(FormatError, match="llama-bench"):
        read_llama_bench(tmp_path / "x.json")
    with pytest.raises(NotFoundError):
        read_llama_bench(tmp_path / "none.json")
