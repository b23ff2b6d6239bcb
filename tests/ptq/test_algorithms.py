"""GPTQ and AWQ against what their peers made of the same weights and inputs (`golden-ptq/algo`)."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from sterna.ptq.awq import best_scales, clipped
from sterna.ptq.gptq import gptq
from sterna.ptq.grid import Grid

from .. import helpers


def golden(name: str) -> tuple[dict[str, Tensor], dict[str, object]]:
    folder = helpers.shared("golden-ptq", "algo")
    return load_file(folder / f"{name}.safetensors"), json.loads((folder / f"{name}.json").read_text())


def error(x: Tensor, weight: Tensor, made: Tensor | np.ndarray) -> float:
    """The relative error of the output x · Wᵀ."""
    change = x @ (torch.as_tensor(made) - weight).T
    return (change.norm() / (x @ weight.T).norm()).item()


@pytest.mark.parametrize(
    ("name", "symmetric", "act_order"), [("plain", True, False), ("asym", False, False), ("actorder", True, True)]
)
def test_gptq_is_as_near_as_the_peer(name: str, symmetric: bool, act_order: bool) -> None:
    tensors, facts = golden("gptq")
    peer = facts[name]
    assert isinstance(peer, dict)
    x, weight = tensors["x"].float(), tensors["weight"].float()
    made = gptq(weight, 2 / len(x) * x.T @ x, Grid(4, peer["group_size"], symmetric), act_order)
    assert error(x, weight, tensors[f"{name}.dequantised"]) == pytest.approx(peer["relative_output_error"], rel=1e-3)
    assert error(x, weight, made.values()) < 1.05 * peer["relative_output_error"]
    assert (made.index is not None) == act_order


def test_awq_finds_the_peers_scales_and_is_as_near() -> None:
    tensors, facts = golden("awq")
    x, weight = tensors["x"].float(), tensors["weight"].float()
    grid = Grid(4, 64)

    def output(weights: Sequence[Tensor]) -> Tensor:
        return x @ weights[0].T

    scales = best_scales([weight], x, grid, output)
    torch.testing.assert_close(scales, tensors["best_scales"], rtol=1e-3, atol=0)
    peers = [facts[key] for key in ("rtn", "awq_scale_only", "awq_scale_and_clip")]
    scaled = weight * scales
    ours = [
        error(x, weight, grid.nearest(weight)),
        error(x, weight, grid.nearest(scaled) / scales),
        error(x, weight, grid.nearest(clipped(scaled, x / scales, grid)) / scales),
    ]
    assert all(mine <= 1.05 * float(str(peer)) for mine, peer in zip(ours, peers, strict=True)), (ours, peers)


def test_gptq_takes_inputs_that_see_few_columns() -> None:
    """Columns that are never seen count as 0, and a Hessian of low rank is damped."""
    torch.manual_seed(0)
    x, weight, grid = torch.randn(8, 64), torch.randn(16, 64), Grid(4, 32)
    x[:, 5] = 0
    made = gptq(weight, 2 / len(x) * x.T @ x, grid)
    assert np.isfinite(made.values()).all() and np.abs(made.values()[:, 5]).max() < made.scales.max()
    assert error(x, weight, made.values()) < error(x, weight, grid.nearest(weight))


def test_groups_of_gptq_wider_than_a_block_are_fitted_to_what_their_columns_have_become() -> None:
    torch.manual_seed(0)
    x, weight, grid = torch.randn(600, 512), torch.randn(16, 512), Grid(4, 256)
    made = gptq(weight, 2 / len(x) * x.T @ x, grid)
    assert error(x, weight, made.values()) < error(x, weight, grid.nearest(weight))
