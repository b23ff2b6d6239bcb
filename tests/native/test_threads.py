"""The pool of threads: every thread does its part, and no two touch the same data unguarded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from .probe import Probe, build


def test_pool_is_free_of_data_races(tmp_path: Path) -> None:
    options = ("-DSTERNA_SANITIZE=thread", "-DCMAKE_BUILD_TYPE=RelWithDebInfo")
    probe = Probe((str(build(tmp_path, *options)),), "scalar")
    (sums,) = probe.call("pool", 3, 200)  # the sanitizer ends the program at the first race
    assert np.array_equal(np.frombuffer(sums, np.int32).reshape(3, 16)[:, 0], [1200, 1200, 1200])


@pytest.mark.parametrize("threads", [3, 64])  # fewer or more than there are processors
def test_pool_runs_every_phase_on_every_thread(threads: int, probe: Probe) -> None:
    (sums,) = probe.call("pool", threads, 50)
    assert np.array_equal(np.frombuffer(sums, np.int32).reshape(threads, 16)[:, 0], [300] * threads)


@pytest.mark.parametrize("tokens", [1, 4, 128])
@pytest.mark.parametrize("threads", [16, 64])
def test_products_of_a_phase_occupy_all_threads(threads: int, tokens: int, probe: Probe) -> None:
    # Matrices of the 2B-4T shape between two barriers: q, k, v; o; gate, up; down.
    for phase in ([2560, 640, 640], [2560], [6912, 6912], [2560]):
        calls = [probe.call("division", rows, 2560, tokens, threads)[0] for rows in phase]
        for items in np.array([np.frombuffer(call, np.int32)[::2] for call in calls]).T:  # of rows, of panels
            # An item is as long as any other of its matrix; a thread without a share takes others' items.
            assert items.sum() >= threads and -(-items.sum() // threads) <= 1.25 * items.sum() / threads
