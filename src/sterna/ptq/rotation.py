"""Rotations of pairs of columns in groups (ParoQuant, arXiv 2511.10645, section 3), and which columns are paired."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor


def tournament_pairs(size: int, count: int, rng: random.Random) -> list[list[int]]:
    """`count` ways to pair the columns of a group of `size`, an even number, each as i0, j0, i1, j1, ...

    They are rounds of a round-robin tournament (the circle method) among columns in random order: every round pairs all
    columns, and no pair comes twice before `size - 1` rounds are used up.
    """
    players = rng.sample(range(size), size)
    rounds = []
    for _ in range(size - 1):
        rounds.append([player for at in range(size // 2) for player in (players[at], players[-1 - at])])
        players = [players[0], players[-1], *players[1:-1]]
    rng.shuffle(rounds)
    return [rounds[at % len(rounds)] for at in range(count)]


def greedy_pairs(size: int, count: int, rng: random.Random) -> list[list[int]]:
    """As `tournament_pairs`, as ParoQuant's authors choose them: each rotation takes those of all pairs, in random
    order, whose columns it has not used and which no rotation before it has. The columns that are left over are paired
    among themselves."""
    pairs = list(combinations(range(size), 2))
    rng.shuffle(pairs)
    taken: set[tuple[int, int]] = set()
    ways = []
    for _ in range(count):
        free = set(range(size))
        way: list[int] = []
        for pair in pairs:
            if pair not in taken and free.issuperset(pair):
                taken.add(pair)
                free.difference_update(pair)
                way += pair
        ways.append(way + sorted(free))
    return ways


PAIRINGS: dict[str, Callable[[int, int, random.Random], list[list[int]]]] = {
    "tournament": tournament_pairs,
    "greedy": greedy_pairs,
}
"""By the names that `--pairing` takes."""


def draw_pairs(pairing: str, columns: int, size: int, count: int, rng: random.Random) -> Tensor:
    """Pairs of `count` rotations of all groups, int64 [count, columns], local to their group."""
    choose = PAIRINGS[pairing]
    groups = [torch.tensor(choose(size, count, rng)) for _ in range(columns // size)]
    return torch.cat(groups, dim=1)


def rotations(angles: Tensor, pairs: Tensor, size: int) -> Tensor:
    """The rotations of each group as a matrix, float32 [groups, size, size], with which a row x of a group becomes
    x · R; for angles [K, columns / 2] and local pairs [K, columns]. Angles get gradients."""
    count, columns = pairs.shape
    groups = columns // size
    local = pairs.view(count, groups, size)
    turned = torch.eye(size, device=angles.device).expand(groups, size, size)
    for way, angle in zip(local, angles.view(count, groups, 1, size // 2), strict=True):
        places = torch.argsort(way, dim=-1)[:, None].expand(groups, size, size)
        chosen = turned.gather(2, way[:, None].expand(groups, size, size)).unflatten(-1, (-1, 2))
        i, j, cos, sin = chosen[..., 0], chosen[..., 1], angle.cos(), angle.sin()
        mixed = torch.stack((cos * i + sin * j, cos * j - sin * i), dim=-1).flatten(-2)
        turned = mixed.gather(2, places)
    return turned


def rotated(values: Tensor, matrices: Tensor) -> Tensor:
    """values [..., columns] with each group multiplied by its matrix [groups, size, size]."""
    groups = values.unflatten(-1, matrices.shape[:2])
    return torch.einsum("...gi,gij->...gj", groups, matrices).flatten(-2)
