"""Blocks with a scale of their own: golden blocks of llama.cpp and PrismML's fork, and what packings hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterna.ternary.group_scaled import PQ2_0, Q1_0, Q1_0_G32, Q2_0, STQ1_0_BLOCK, Fields, unpack_stq1_0
from sterna.ternary.tq import PTQ1_0, TQ1_0, Trits
from tests.tiny_vocabularies import SHARED

TYPES = SHARED / "golden-bonsai" / "types"
PACKINGS: dict[str, Fields | Trits] = {
    "q2_0_g64": Q2_0,
    "q2_0_g64_code3": Q2_0,
    "q2_0_g128_legacy": PQ2_0,
    "q2_0_g128_legacy_code3": PQ2_0,
    "pq2_0": PQ2_0,
    "pq2_0_code3": PQ2_0,
    "q1_0": Q1_0,
    "q1_0_g32_fork40": Q1_0_G32,
    "tq1_0": TQ1_0,
    "ptq1_0": PTQ1_0,
    "ptq1_0_anybytes": PTQ1_0,
}
golden = pytest.mark.skipif(
    not TYPES.is_dir(), reason="../shared/golden-bonsai is not there (a fixture of the project)"
)


@golden
@pytest.mark.parametrize("name", PACKINGS)
def test_golden_blocks_decode_and_encode_to_the_bit(name: str) -> None:
    packing, file = PACKINGS[name], np.load(TYPES / f"{name}.npz")
    packed, dequantised = file["packed"], file["dequant"]
    codes, scales = packing.unpack(packed.reshape(-1), dequantised.shape)
    values = codes * np.repeat(scales, packing.block, axis=-1)
    assert np.array_equal(values, dequantised)
    assert packing.count_zeros(packed.reshape(-1)) == np.count_nonzero(codes == 0)
    if name != "ptq1_0_anybytes":
        assert np.array_equal(packing.pack(codes, scales), packed.reshape(-1))


@golden
def test_golden_blocks_of_stq1_0_decode_to_the_bit() -> None:
    file = np.load(TYPES / "stq1_0.npz")
    codes, scales = unpack_stq1_0(file["packed"].reshape(-1), file["dequant"].shape)
    assert np.array_equal(codes * np.repeat(scales, STQ1_0_BLOCK, axis=-1), file["dequant"])


@pytest.mark.parametrize("packing", [Q2_0, PQ2_0, Q1_0, Q1_0_G32, TQ1_0, PTQ1_0], ids=lambda packing: packing.name)
@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 4))
def test_blocks_round_trip(packing: Fields | Trits, seed: int, rows: int, blocks: int) -> None:
    random = np.random.default_rng(seed)
    held = [-1, 1] if isinstance(packing, Fields) and packing.bits == 1 else [-1, 0, 1]
    codes = random.choice(np.array(held, np.int8), (rows, blocks * packing.block))
    scales = random.standard_normal((rows, blocks)).astype(np.float16)
    packed = packing.pack(codes, scales)
    assert packed.dtype == np.uint8 and packed.size == rows * blocks * packing.dtype.itemsize
    unpacked = packing.unpack(packed, codes.shape)
    assert np.array_equal(unpacked[0], codes) and np.array_equal(unpacked[1], scales)


@pytest.mark.parametrize("packing", [Q2_0, PQ2_0, Q1_0, PTQ1_0], ids=lambda packing: packing.name)
def test_blocks_refuse_what_they_cannot_hold(packing: Fields | Trits) -> None:
    for codes in (np.ones((2, packing.block - 1), np.int8), np.full((1, packing.block), 3, np.int8)):
        with pytest.raises(ValueError, match=packing.name):
            packing.pack(codes, np.ones(2))
