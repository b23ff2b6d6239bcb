"""Which kernels run: those that the processor has, if they give the known answers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from .probe import Probe, build


@pytest.mark.skipif(not shutil.which("qemu-x86_64"), reason="needs Debian's qemu-user")
def test_a_processor_without_avx2_runs_scalar(
    programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    if "native" not in programs:
        programs["native"] = build(tmp_path_factory.mktemp("native"))
    old = ("qemu-x86_64", "-cpu", "Nehalem", str(programs["native"]))
    assert np.frombuffer(Probe(old, "scalar").call("known_answers")[0], np.int32) == 1
    refused = subprocess.run([*old, "avx2", "known_answers"], capture_output=True, text=True)
    assert refused.returncode == 1 and "it has scalar." in refused.stderr


def test_known_answers_hold(probe: Probe) -> None:
    assert np.frombuffer(probe.call("known_answers")[0], np.int32) == 1


def test_ceiling_loops_do_their_work(probe: Probe) -> None:
    total, count = np.frombuffer(probe.call("ceilings")[0], np.uint64)
    assert total == 0 and count >= 1000 * 32
