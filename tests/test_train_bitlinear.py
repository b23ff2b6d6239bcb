"""BitLinear computes the definition in DESIGN.md forward and passes gradients straight through."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sterna.ternary import absmax, absmean  # noqa: E402
from sterna.train.bitlinear import BitLinear  # noqa: E402


@pytest.fixture
def layer() -> BitLinear:
    torch.manual_seed(3)
    return BitLinear(128, 48, init_std=0.1)


def test_forward_is_the_numpy_formula(layer: BitLinear) -> None:
    x = torch.randn(2, 7, 128) * 3
    codes, beta = absmean(layer.weight.detach().numpy())
    x_codes, scale = absmax(x.numpy())
    expected = (x_codes.astype(np.int32) @ codes.T.astype(np.int32)) * (np.float32(beta) / scale)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-6)


def test_integer_products_survive_bfloat16(layer: BitLinear) -> None:
    x = torch.randn(5, 128)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = layer(x)
    torch.testing.assert_close(rounded, layer(x), rtol=2**-8, atol=0)  # only the sum is rounded, to 8 bits


def test_zero_input_gives_zero(layer: BitLinear) -> None:
    assert torch.equal(layer(torch.zeros(1, 128)), torch.zeros(1, 48))


def test_gradients_pass_straight_through(layer: BitLinear) -> None:
    x = torch.randn(7, 128, requires_grad=True)
    upstream = torch.randn(7, 48)
    layer(x).backward(upstream)
    codes, beta = absmean(layer.weight.detach().numpy())
    x_codes, scale = absmax(x.detach().numpy())
    quantised_weight, quantised_x = torch.from_numpy(codes * np.float32(beta)), torch.from_numpy(x_codes / scale)
    torch.testing.assert_close(x.grad, upstream @ quantised_weight, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer.weight.grad, upstream.T @ quantised_x, rtol=1e-4, atol=1e-5)
