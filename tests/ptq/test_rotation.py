"""Pairs of columns, the matrices of their rotations, and what ParoQuant learns."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.model.oracle import rotate
from sterna.ptq.grid import Grid
from sterna.ptq.paroquant import Rotated
from sterna.ptq.rotation import PAIRINGS, draw_pairs, rotated, rotations

from .. import helpers


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(PAIRINGS)), st.integers(1, 16), st.integers(1, 12), st.integers(0, 9))
def test_every_column_of_a_group_is_paired_once_in_every_rotation(name: str, half: int, count: int, seed: int) -> None:
    ways = PAIRINGS[name](2 * half, count, random.Random(seed))
    assert len(ways) == count and all(sorted(way) == list(range(2 * half)) for way in ways)


def test_no_pair_of_a_tournament_comes_twice() -> None:
    ways = PAIRINGS["tournament"](32, 31, random.Random(1))
    pairs = [frozenset(way[at : at + 2]) for way in ways for at in range(0, 32, 2)]
    assert len(set(pairs)) == len(pairs) == 31 * 16


@pytest.mark.parametrize("pairing", sorted(PAIRINGS))
def test_the_matrices_rotate_as_the_operation_of_the_engine(pairing: str) -> None:
    torch.manual_seed(0)
    pairs = draw_pairs(pairing, 96, 32, 8, random.Random(0))
    angles, x = torch.randn(8, 48), torch.randn(5, 96)
    turn = rotations(angles, pairs, 32)
    whole = pairs + torch.arange(0, 96, 32).repeat_interleave(32)
    expected = rotate(x.numpy(), angles.numpy(), whole.numpy())
    assert helpers.relative_error(expected, rotated(x, turn).numpy()) < 1e-6
    torch.testing.assert_close(rotated(rotated(x, turn), turn.mT), x)


def test_a_matrix_in_learning_begins_as_it_is_rounded_to_nearest() -> None:
    torch.manual_seed(0)
    weight, grid = torch.randn(16, 64), Grid(4, 32)
    matrix = Rotated(weight, grid, draw_pairs("tournament", 64, 32, 8, random.Random(0)))
    torch.testing.assert_close(matrix().detach(), grid.nearest(weight))
    matrix.begin_second_stage()
    torch.testing.assert_close(matrix().detach(), grid.nearest(weight))


def test_what_is_learned_is_what_is_written() -> None:
    """After both stages the codes stand for what the matrix was in learning, but for float16 scales."""
    torch.manual_seed(0)
    matrix = Rotated(torch.randn(16, 64), Grid(4, 32), draw_pairs("greedy", 64, 32, 8, random.Random(0)))
    with torch.no_grad():
        matrix.angles.normal_()
        matrix.channel_scales.uniform_(0.5, 2)
    matrix.begin_second_stage()
    assert helpers.relative_error(matrix().detach().numpy(), matrix.matrix().values()) < 2e-3
