"""What Triton is asked to compile for the launches of a plan, without a GPU: nothing is compiled or run."""

from __future__ import annotations

import os
from typing import Any

import pytest

pytest.importorskip("torch")
triton = pytest.importorskip("triton")

from tests.golden_plans import read  # noqa: E402

from .interpreted.units import run, units  # noqa: E402

pytestmark = pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="interpreted kernels have no options")


class Driver:
    """Names a GPU that is not there."""

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> object:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)


def test_no_launch_fuses_products_with_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def note(*, fn: Any, compile: dict[str, Any], **others: object) -> bool:
        asked[fn.name] = compile["enable_fp_fusion"]
        return True  # which keeps Triton from compiling

    monkeypatch.setattr(triton.runtime.driver, "_active", Driver())
    monkeypatch.setattr(triton.knobs.runtime, "jit_cache_hook", note)
    golden = read("gemma3")
    for unit in units(golden):
        run(golden.plan, unit.operations, golden.tensors, unit.inputs, golden.tokens)
    assert {"embed_kernel", "row_kernel", "norm_add_kernel", "heads_kernel", "attention_kernel"} <= set(asked)
    assert not any(asked.values()), asked
