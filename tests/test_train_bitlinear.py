"""BitLinear computes the definition in DESIGN.md forward and passes gradients straight through."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sterna.ternary import absmax, absmean  # noqa: E402
from sterna.ternary.quantization import Quantization  # noqa: E402
from sterna.ternary.quantize import binary  # noqa: E402
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


def by_definition(x: np.ndarray, activations: str, source: str) -> np.ndarray:
    """What a matrix multiplies, as the papers define it."""
    if activations == "float":
        return x
    if activations == "a4.8" and source == "normed":  # arXiv 2411.04965, section 2.1
        beta = np.abs(x).mean(axis=-1, keepdims=True) + np.float32(1e-5)
        return np.clip(np.rint(x * np.float32(7**0.5) / beta), -8, 7) * beta / np.float32(7**0.5)
    codes, scale = absmax(x)
    values = codes / scale
    if activations == "a4.8" and source == "attention":
        least_kept = np.sort(np.abs(x), axis=-1)[:, x.shape[-1] // 2, None]
        values = values * (np.abs(x) >= least_kept)
    return values


@pytest.mark.parametrize(
    ("quantization", "source"),
    [
        (Quantization(), "normed"),
        (Quantization("binary"), "normed"),
        (Quantization("float", activations="float"), "normed"),
        (Quantization(activations="float"), "gated"),
        *((Quantization(activations="a4.8"), source) for source in ("normed", "attention", "gated")),
    ],
    ids=str,
)
def test_every_quantiser_computes_its_definition_and_passes_gradients_straight_through(
    quantization: Quantization, source: str
) -> None:
    torch.manual_seed(5)
    layer = BitLinear(128, 48, 0.1, quantization, source)
    x, upstream = torch.randn(7, 128, requires_grad=True), torch.randn(7, 48)
    y = layer(x)
    y.backward(upstream)
    latent = layer.weight.detach().numpy()
    weights = {"ternary": absmean, "binary": binary, "float": lambda latent: (latent, 1.0)}[quantization.weights]
    codes, beta = weights(latent)
    weight = torch.from_numpy(codes * np.float32(beta))
    inputs = torch.from_numpy(by_definition(x.detach().numpy(), quantization.activations, source).astype(np.float32))
    torch.testing.assert_close(layer.values(), weight)
    torch.testing.assert_close(y, inputs @ weight.T, rtol=1e-4, atol=1e-5)
    expected = upstream @ weight
    if quantization.activations == "a4.8" and source == "attention":
        expected = expected * (inputs != 0)  # what is not kept has no gradient
        assert ((x.grad != 0).sum(-1) == 64).all()
    torch.testing.assert_close(x.grad, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer.weight.grad, upstream.T @ inputs, rtol=1e-4, atol=1e-5)
