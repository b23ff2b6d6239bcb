"""The attention that is written out for compiled training is torch's."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from sterna.train.attention import QUERY_BLOCK, _written_out, causal_attention  # noqa: E402


@pytest.mark.parametrize("tokens", [1, 7, QUERY_BLOCK, QUERY_BLOCK + 3, 2 * QUERY_BLOCK])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_values_and_gradients_are_those_of_torchs_kernel(tokens: int, kv_heads: int) -> None:
    torch.manual_seed(tokens)
    shapes = [(2, heads, tokens, 16) for heads in (4, kv_heads, kv_heads)]
    inputs = [torch.randn(shape, requires_grad=True) for shape in shapes]
    upstream = torch.randn(shapes[0])
    expected, found = causal_attention(*inputs), _written_out(*inputs)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    wanted = torch.autograd.grad(expected, inputs, upstream)
    for own, other in zip(torch.autograd.grad(found, inputs, upstream), wanted, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)


def test_no_token_sees_a_later_one() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 1, 2, 200, 8)
    before = _written_out(q, k, v)
    k[:, :, 150:], v[:, :, 150:] = 7.0, 9.0
    assert torch.equal(_written_out(q, k, v)[:, :, :150], before[:, :, :150])
