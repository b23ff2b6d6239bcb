"""A pass that the system gave no memory fails alone: the model computes the next one."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource
import numpy as np
from sterna import _native
from sterna.model.operations import Embed, Slot, Weight
from sterna.model.plan import Head, Plan

vocab, width, rows = 1 << 18, 128, 64
embed = Embed(Slot("hidden"), Weight("head"))
plan = Plan(vocab, Head("head", "int8"), "hidden", {"hidden": width}, operations=[embed])
codes = np.full(vocab * width // 4, 0x55, np.uint8)  # zeros
head = "i2_s", (vocab, width), codes, 1.0, np.empty(0, np.float32), False
model = _native.Model(plan.to_dict(), {"head": head}, "scalar", 1, True)

def select():
    hidden, none = np.ones((rows, width), np.float32), np.zeros(rows, np.int32)
    return model.select(hidden, [_native.Sampling() for _ in range(rows)], none, [], 1)[0]

pages = int(open("/proc/self/statm").read().split()[0])
before = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (rows * vocab * 4) // 2, before[1]))
for _ in range(2):
    try:
        select()
    except MemoryError:
        print("refused")
resource.setrlimit(resource.RLIMIT_AS, before)
print(select().any())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits its own address space, as Linux does it")
def test_logits_that_found_no_memory_are_computed_later() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "refused\nrefused\nFalse\n"), done.stderr
