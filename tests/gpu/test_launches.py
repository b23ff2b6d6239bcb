"""What Triton is asked to compile for the launches of a plan and of training, without a GPU: nothing is compiled or
run."""

from __future__ import annotations

import os
from typing import Any

import pytest

torch = pytest.importorskip("torch")
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


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """Whether products may be fused with sums, by the names of the kernels that were launched."""
    found: dict[str, bool] = {}

    def note(*, fn: Any, compile: dict[str, Any], **others: object) -> bool:
        found[fn.name] = compile["enable_fp_fusion"]
        return True  # which keeps Triton from compiling

    monkeypatch.setattr(triton.runtime.driver, "_active", Driver())
    monkeypatch.setattr(triton.knobs.runtime, "jit_cache_hook", note)
    return found


def test_no_launch_of_a_plan_fuses_products_with_sums(asked: dict[str, bool]) -> None:
    golden = read("gemma3")
    for unit in units(golden):
        run(golden.plan, unit.operations, golden.tensors, unit.inputs, golden.tokens)
    assert {"embed_kernel", "row_kernel", "norm_add_kernel", "heads_kernel", "attention_kernel"} <= set(asked)
    assert not any(asked.values()), asked


def test_no_launch_of_training_fuses_products_with_sums(asked: dict[str, bool]) -> None:
    from sterna.train.kernels.linear import norm_linears

    x, weight = torch.ones(4, 128, requires_grad=True), torch.ones(64, 128, requires_grad=True)
    (out,) = norm_linears(x, torch.ones(128), 1e-5, [weight])
    out.sum().backward()
    names = ("norm_absmax", "magnitude", "ternary", "codes", "gradient")
    assert asked == {f"{name}_kernel": False for name in names}
