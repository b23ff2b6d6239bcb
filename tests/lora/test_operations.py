"""The operations whose gradients are written by hand, against PyTorch's own."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

from sterna.checkpoint.adapters import LowRank  # noqa: E402
from sterna.engine.machine import choose_isa  # noqa: E402
from sterna.finetune.lora.layer import LoraLayer  # noqa: E402
from sterna.finetune.lora.operations import angles, rms_norm, rope  # noqa: E402
from sterna.finetune.lora.packed import PackedMatrix  # noqa: E402
from sterna.tensor.decode import decode  # noqa: E402
from sterna.tensor.encode import encode  # noqa: E402
from sterna.tensor.encodings import Encoding  # noqa: E402


def random(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype)


@pytest.mark.parametrize("heads", [1, 3])
def test_norm(heads: int) -> None:
    x, weight = random(5, 12).requires_grad_(), random(12 // heads)
    expected = F.rms_norm(x.unflatten(-1, (heads, -1)), weight.shape, weight, 1e-5).flatten(-2)
    torch.testing.assert_close(rms_norm(x, weight, 1e-5, heads), expected)
    assert torch.autograd.gradcheck(lambda rows: rms_norm(rows, weight, 1e-5, heads), x)


@pytest.mark.parametrize("style", ["half", "interleaved"])
@pytest.mark.parametrize("pairs", [4, 3])
def test_rope(style: str, pairs: int) -> None:
    x = random(6, 2 * 8).requires_grad_()
    cos, sin = (each.double() for each in angles([4, 2], [1.0, 0.5, 0.25, 0.1][:pairs]))
    got, heads = rope(x, 2, style, cos, sin), x.unflatten(-1, (2, 8))
    first, second = (
        (slice(0, pairs), slice(pairs, 2 * pairs))
        if style == "half"
        else (
            slice(0, 2 * pairs, 2),
            slice(1, 2 * pairs, 2),
        )
    )
    turned = torch.complex(heads[..., first], heads[..., second]) * torch.complex(cos, sin)[:, None]
    for part, expected in ((first, turned.real), (second, turned.imag), (slice(2 * pairs, 8), heads[..., 2 * pairs :])):
        torch.testing.assert_close(got.unflatten(-1, (2, 8))[..., part], expected)
    assert torch.autograd.gradcheck(lambda rows: rope(rows, 2, style, cos, sin), x)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("rank", [3, 40])
@pytest.mark.parametrize("n", [5, 70])
def test_an_adapted_matrix(n: int, rank: int, dropout: float) -> None:
    tensor = encode("w", random(96, 160, dtype=torch.float32).numpy(), Encoding.Q8_0)
    matrix, weight = PackedMatrix(tensor, "none", 0, choose_isa(), 2), torch.from_numpy(decode(tensor))
    a, b = random(rank, 160, dtype=torch.float32) / 8, random(96, rank, dtype=torch.float32) / 8
    layer = LoraLayer(LowRank(a.numpy(), b.numpy(), 0.75), dropout)
    x, g = random(n, 160, dtype=torch.float32).requires_grad_(), random(n, 96, dtype=torch.float32)
    torch.manual_seed(0)
    got = layer(x, matrix)
    torch.manual_seed(0)
    a, b = a.requires_grad_(), b.requires_grad_()
    expected = x @ weight.T + 0.75 * (F.dropout(x, dropout) @ a.T) @ b.T
    assert (got - expected).abs().max() < 3e-5 * expected.abs().max()
    wanted = torch.autograd.grad(expected, (x, a, b), g)
    for mine, theirs in zip(torch.autograd.grad(got, (x, layer.a, layer.b), g), wanted, strict=True):
        assert (mine - theirs).abs().max() < 3e-5 * theirs.abs().max()
