"""The two models of energy against published figures, and the sensors on trees of files like Linux's."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from sterna import LLM
from sterna.bench.energy.arithmetic import NODES, Pass, matmul_ratio, pass_of, wide_ratio
from sterna.bench.energy.meter import Energy, Meter
from sterna.bench.energy.movement import joules
from sterna.bench.energy.nvml import find_nvml
from sterna.bench.energy.rapl import find_rapl
from sterna.bench.energy.report import bench_lines, energy_of, job_lines
from sterna.bench.energy.sensors import Battery, Watts, find_sensor
from sterna.bench.sizing.shapes import PUBLISHED, sized
from sterna.bench.synthetic import Shape, config_of

from .command import sterna
from .helpers import TINY, tiny_checkpoint

SEVEN = NODES["7nm"]


def test_the_arithmetic_model_gives_the_published_ratios() -> None:
    assert matmul_ratio(SEVEN) == pytest.approx(71.4, abs=0.05) and matmul_ratio(NODES["45nm"]) == pytest.approx(50.0)
    assert wide_ratio(SEVEN) == pytest.approx(16.7, abs=0.05)
    assert pass_of(sized("70B").config).ratio(SEVEN) == pytest.approx(41.2, rel=0.01)


@pytest.mark.parametrize(
    ("shape", "ternary", "card"),
    [
        (PUBLISHED["2B4T"], True, 0.028),
        (Shape("llama", 2048, 8192, 16, 32, 8, 128256), False, 0.258),  # LLaMA-3.2-1B
        (Shape("llama", 1152, 6912, 26, 4, 1, 262144, head_dim=256), False, 0.186),  # Gemma-3-1B
        (Shape("llama", 1536, 8960, 28, 12, 2, 151936), False, 0.347),  # Qwen2.5-1.5B
        (Shape("llama", 2048, 8192, 24, 32, 32, 49152), False, 0.425),  # SmolLM2-1.7B
        (Shape("llama", 2304, 5760, 40, 36, 36, 122753), False, 0.649),  # MiniCPM-2B
    ],
)
def test_the_arithmetic_model_gives_the_six_values_of_the_card(shape: Shape, ternary: bool, card: float) -> None:
    assert round(pass_of(config_of(shape)).joules(SEVEN, ternary), 3) == card


def test_layers_without_attention_cost_none() -> None:
    one = replace(TINY, num_layers=1)
    assert pass_of(TINY) == Pass(2 * pass_of(one).weights, 2 * pass_of(one).attention)
    assert joules(1e9) == pytest.approx((0.04, 0.08))


def zone(root: Path, path: str, name: str, energy: int, most: int = 999_999) -> Path:
    folder = root / path
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{energy}\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")
    return folder


def test_packages_and_their_memory_are_added_and_counters_wrap(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0", 999_000)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 5_000)
    dram = zone(tmp_path, "intel-rapl:1:1", "dram", 0)
    core = zone(tmp_path, "intel-rapl:0:0", "core", 0)
    psys = zone(tmp_path, "intel-rapl:2", "psys", 0)
    rapl, _ = find_rapl(tmp_path)
    assert rapl is not None and rapl.source == "powercap (package-0, package-1, dram)" and rapl.joules() == 0
    for path, value in ((first, 1_000), (second, 7_000), (dram, 500), (core, 99_999), (psys, 99_999)):
        (path / "energy_uj").write_text(str(value))
    assert rapl.joules() == pytest.approx((2_000 + 2_000 + 500) / 1e6)
    (first / "energy_uj").write_text("999")  # around once more
    assert rapl.joules() == pytest.approx((2_000 + 999_999 + 2_000 + 500) / 1e6)


def test_amd_has_the_same_names(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    zone(tmp_path, "intel-rapl:0:0", "core", 1)
    (tmp_path / "amd-extra").mkdir()
    rapl, _ = find_rapl(tmp_path)
    assert rapl is not None and rapl.source == "powercap (package-0)"


def test_counters_for_root_alone_are_told_and_never_half_a_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    closed = zone(tmp_path, "intel-rapl:1", "package-1", 1) / "energy_uj"
    closed.chmod(0o000)
    if os.geteuid() == 0:  # who may read everything
        read = Path.read_text

        def refuse(path: Path, *rest: str | None) -> str:
            if path == closed:
                raise PermissionError(13, "Permission denied")
            return read(path, *rest)

        monkeypatch.setattr(Path, "read_text", refuse)
    rapl, reason = find_rapl(tmp_path)
    assert rapl is None and "readable by root alone" in reason
    assert find_sensor(None, tmp_path, tmp_path / "none")[0] is None


@pytest.mark.parametrize("broken", ["", "many", "package"])
def test_a_counter_that_is_none_is_left_out(broken: str, tmp_path: Path) -> None:
    (zone(tmp_path, "intel-rapl:0", "package-0", 1) / "energy_uj").write_text(broken)
    rapl, reason = find_rapl(tmp_path)
    assert rapl is None and "no counters" in reason


def test_a_battery_in_use_is_summed_over_time(tmp_path: Path) -> None:
    battery, now = tmp_path / "BAT0", [0.0]
    battery.mkdir()
    (battery / "status").write_text("Discharging\n")
    (battery / "current_now").write_text("2000000")
    (battery / "voltage_now").write_text("10000000")
    found = Battery(battery, lambda: now[0])
    (battery / "power_now").write_text("-40000000")  # 20 W before, 40 W now
    now[0] = 2.0
    assert found.joules() == pytest.approx(60)
    assert isinstance(find_sensor(None, tmp_path / "none", tmp_path)[0], Battery)
    (battery / "status").write_text("Charging\n")
    sensor, reason = find_sensor(None, tmp_path / "none", tmp_path)
    assert sensor is None and "give --watts" in reason


class FakeNvml(ModuleType):
    """nvidia-ml-py with two cards, of which the second counts no energy."""

    class NVMLError(Exception):
        pass

    def __init__(self, cards: int = 2) -> None:
        super().__init__("pynvml")
        self.cards, self.millijoules, self.milliwatts, self.has_driver = cards, 5_000, 70_000, True

    def check(self, works: bool) -> None:
        if not works:
            raise self.NVMLError("unknown")

    def nvmlInit(self) -> None:
        self.check(self.has_driver)

    def nvmlDeviceGetCount(self) -> int:
        return self.cards

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, card: int) -> str | bytes:
        return b"old" if card else "new"

    def nvmlDeviceGetTotalEnergyConsumption(self, card: int) -> int:
        self.check(card == 0 and self.has_driver)
        return self.millijoules

    def nvmlDeviceGetPowerUsage(self, card: int) -> int:
        self.check(self.has_driver)
        return self.milliwatts


def test_graphics_cards_are_added_to_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml, now = FakeNvml(), [0.0]
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    cards = find_nvml(lambda: now[0])
    assert cards is not None and cards.source == "NVML (new, old)" and cards.joules() == 0
    nvml.millijoules, nvml.milliwatts, now[0] = 9_000, 30_000, 2.0
    assert cards.joules() == pytest.approx(4 + 2 * (70 + 30) / 2)
    alone, _ = find_sensor(None, tmp_path, tmp_path)
    assert alone is not None and alone.source.startswith("NVML (new, old), without the processor: ")
    assert alone.joules() < 70  # W of the second card, for less than a second
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    sensor, _ = find_sensor(None, tmp_path, tmp_path)
    assert sensor is not None and sensor.source == "powercap (package-0) and NVML (new, old)"
    nvml.has_driver = False
    with pytest.raises(OSError, match="NVML"):
        cards.joules()
    assert find_nvml() is None
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(cards=0))
    assert find_nvml() is None and find_sensor(None, tmp_path / "none", tmp_path)[0] is None
    monkeypatch.setitem(sys.modules, "pynvml", None)  # not installed
    assert find_nvml() is None


def test_a_meter_counts_while_its_block_runs_and_knows_a_sensor_that_fails(tmp_path: Path) -> None:
    times = iter(range(100))
    with Meter(Watts(10.0, lambda: float(next(times)))) as meter:
        pass
    assert meter.energy is not None and meter.energy.joules == pytest.approx(10)
    package = zone(tmp_path, "intel-rapl:0", "package-0", 1)
    rapl, _ = find_rapl(tmp_path)
    assert rapl is not None
    with Meter(rapl) as meter:
        (package / "energy_uj").unlink()
    assert meter.energy is None
    assert Energy("x", 100.0, 10.0).above(Energy("x", 8.0, 2.0)) == pytest.approx(60)


def test_without_a_sensor_the_measurement_is_none_with_its_reason() -> None:
    llm = LLM(tiny_checkpoint(TINY), threads=1)
    report = energy_of(llm, 1000, None, "there is no counter")
    assert report.measured is None and report.reason == "there is no counter"
    assert list(bench_lines(report))[2] == "energy, measured: nothing, because there is no counter"
    assert list(job_lines(pass_of(TINY), 1000, 10, None, "of that"))[2] == "energy, measured: nothing, because of that"


def test_with_a_sensor_rest_is_subtracted() -> None:
    llm = LLM(tiny_checkpoint(TINY), threads=1)
    report = energy_of(llm, 1000, Watts(20.0), "", idle_s=0.01, work_s=0.01)
    assert report.measured is not None and report.reason is None
    assert report.measured.idle_watts == pytest.approx(20, rel=0.2) and report.measured.decode > 0
    assert report.measured.prefill_net < report.measured.prefill
    assert len(list(bench_lines(report))) == 3
    short = LLM(tiny_checkpoint(TINY), threads=1, ctx=2)
    assert energy_of(short, 1000, Watts(20.0), "", idle_s=0.01, work_s=0.01).measured is not None


def test_a_batch_ends_with_three_lines(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps({"prompt": "The ship"}) + "\n")
    done = sterna(
        "batch", str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"), "-n", "2", "--energy", "--watts", "9"
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("energy, ")]
    assert done.returncode == 0 and len(lines) == 3 and "measured (--watts 9)" in lines[2]
    alone = sterna("batch", str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"), "--watts", "9")
    assert alone.returncode == 2 and "--watts goes with --energy" in alone.stderr
