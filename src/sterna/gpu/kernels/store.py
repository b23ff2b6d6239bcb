"""How products of matrices end."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def store_products(total, bias, out, token, row, tokens, rows, out_stride, RESIDUAL: tl.constexpr, BIAS: tl.constexpr):
    """out = total [token, row] + bias [row] (BIAS), added to what is there (RESIDUAL), for tokens below `tokens` and
    rows below `rows`."""
    if BIAS:
        total += tl.load(bias + row, mask=row < rows, other=0.0)[None, :]
    place = out + token.to(tl.int64)[:, None] * out_stride + row[None, :]
    inside = (token < tokens)[:, None] & (row < rows)[None, :]
    if RESIDUAL:
        total = tl.load(place, mask=inside, other=0.0) + total
    tl.store(place, total, mask=inside)
