"""A screened head: a small copy of the head estimates logits; a certified bound tells which rows can still win.

For each hidden row x of real text, a screen W' of the head W gives z' = W' x. Three certified bounds on |W x - z'|:

    row     ||w - w'||_2 * ||x||_2
    block   sum over blocks b of 32 columns of ||w_b - w'_b||_2 * ||x_b||_2
    project as row, in the complement of the 16 leading singular directions of other hidden rows; the error along those
            directions is kept with the screen (16 numbers a row) and subtracted

A row is a candidate if z' + bound >= max(z' - bound). The greedy token is then always that of the full head. The cost
is the bytes of the screen, of the norms, and of the candidate rows of the full head. Sums here are float64; an integer
kernel adds an error of at most max|x| / 32512 per activation (docs/kernels.md), so `quantised`, which is added to the
bounds, is max|x| / 32512 * ||w'||_1.

    python benchmarks/research/screened_head.py [--text FILE.xz] [--rows N]
"""

from __future__ import annotations

import argparse
import lzma

import numpy as np

from sterna import LLM

Q6_K_BYTES = 210 / 256


def screen(w: np.ndarray, bits: int, block: int) -> tuple[np.ndarray, float]:
    """`w` rounded to `bits` with one float16 scale per block, and the bytes per weight; scales minimise L2 error."""
    blocks = w.reshape(len(w), -1, block)
    levels = 2 ** (bits - 1) - 0.5  # codes are odd multiples of 1/2, so that no level is wasted
    largest = np.abs(blocks).max(-1, keepdims=True) + 1e-12
    best, error = np.zeros_like(blocks), np.full((*blocks.shape[:2], 1), np.inf)
    for shrink in np.linspace(0.4, 1.0, 13):
        scale = (largest * shrink / levels).astype(np.float16).astype(np.float64)
        scale = np.maximum(scale, 6e-8)
        codes = np.clip(np.floor(blocks / scale) + 0.5, -levels, levels)
        e = ((blocks - codes * scale) ** 2).sum(-1, keepdims=True)
        best, error = np.where(e < error, codes * scale, best), np.minimum(e, error)
    return best.reshape(w.shape), bits / 8 + 2 / block


def bounds(error: np.ndarray, x: np.ndarray, directions: np.ndarray, block: int) -> dict[str, np.ndarray]:
    """Certified bounds on the error of screened logits; float64 `[rows, tokens]`."""
    n, cols = error.shape
    e, v = error.reshape(n, cols // block, block), x.reshape(len(x), cols // block, block)
    rest_x, rest_e = x - (x @ directions.T) @ directions, error - (error @ directions.T) @ directions
    return {
        "row": np.outer(np.linalg.norm(error, axis=1), np.linalg.norm(x, axis=1)),
        "block": np.linalg.norm(e, axis=-1) @ np.linalg.norm(v, axis=-1).T,
        "project": np.outer(np.linalg.norm(rest_e, axis=1), np.linalg.norm(rest_x, axis=1)),
    }


def judge(name: str, w: np.ndarray, x: np.ndarray, others: np.ndarray) -> None:
    """Prints for each screen and bound: candidates, fallbacks (candidates exceed an eighth of all rows), bytes read."""
    z = w @ x.T
    directions = np.linalg.svd(others, full_matrices=False)[2][:16]
    top = np.sort(z, axis=0)
    cosine = z / np.outer(np.linalg.norm(w, axis=1), np.linalg.norm(x, axis=1))
    gap = top[-1] - top[-2]
    print(
        f"{name}: {w.shape[0]} x {w.shape[1]}, {len(x)} hidden rows; gap of the first two / deviation of logits:"
        f" median {np.median(gap / z.std(0)):.2f}, 10th percentile {np.percentile(gap / z.std(0), 10):.2f};"
        f" cosine of row and hidden row: deviation {cosine.std():.3f}, of the winner {np.median(cosine.max(0)):.3f}"
    )
    charge = np.abs(x).max(1) / 32512
    for bits in (5, 4, 3, 2):
        approx, size = screen(w, bits, 32)
        error = w - approx
        quantised = np.abs(approx).sum(1)[:, None] * charge[None, :]
        for kind, bound in bounds(error, x, directions, 32).items():
            rough = approx @ x.T
            if kind == "project":
                rough += (error @ directions.T) @ (directions @ x.T)
            actual = np.abs(z - rough)
            bound = bound + quantised
            assert (actual <= bound + 1e-9).all()
            candidates = (rough + bound >= (rough - bound).max(0)).sum(0)
            assert (
                rough[z.argmax(0), np.arange(len(x))] + bound[z.argmax(0), np.arange(len(x))] >= (rough - bound).max(0)
            ).all()
            fallback = candidates > len(w) / 8
            norms = {"row": 2, "block": w.shape[1] / 32 * 2, "project": 2 + 2 * len(directions)}[kind] / w.shape[1]
            read = size + norms + np.where(fallback, 1, candidates / len(w)) * Q6_K_BYTES
            print(
                f"  {bits} bits  {kind:7}  bound / deviation {np.median(bound) / np.median(z.std(0)):6.2f}"
                f" (largest true error {actual.max() / np.median(z.std(0)):5.2f})"
                f"  candidates median {np.median(candidates) / len(w):7.2%}, mean {candidates.mean() / len(w):7.2%}"
                f"  fallback {fallback.mean():6.1%}  bytes / Q6_K {read.mean() / Q6_K_BYTES:.2f}"
            )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--text", default="../shared/data/novels/valid.txt.xz")
    parser.add_argument("--rows", type=int, default=400)
    args = parser.parse_args()
    llm = LLM()
    width = llm.hidden_size
    with lzma.open(args.text, "rt", encoding="utf-8") as file:
        ids = llm.tokenizer.encode(file.read(400_000))
    step = llm.context_length // 2
    hidden = np.concatenate([llm.hidden(ids[i : i + step])[step // 4 :] for i in range(0, len(ids) - step, step)])
    hidden = np.random.default_rng(0).permutation(hidden)
    hidden, others = hidden[: args.rows], hidden[args.rows :]
    full = llm.head(np.eye(width, dtype=np.float32)).T.astype(np.float64)
    padded = -(-width // 32) * 32 - width
    full, hidden, others = (np.pad(m.astype(np.float64), ((0, 0), (0, padded))) for m in (full, hidden, others))
    judge("embedded model", full, hidden, others)

    # A head as wide as that of a 128k vocabulary: heavy-tailed rows, and hidden rows that point towards one of them, as
    # trained hidden rows do.
    rng = np.random.default_rng(1)
    rows, cols = 32768, 2560
    w = rng.standard_t(4, (rows, cols)) * np.exp(0.3 * rng.standard_normal((rows, 1)))
    x = rng.standard_normal((60, cols)) * np.exp(0.5 * rng.standard_normal(cols))
    # The winner's margin: x gets a component along the winner's row, for a gap of about 4 standard deviations.
    for i, r in enumerate(rng.integers(0, rows, len(x))):
        x[i] += w[r] * (9 * np.linalg.norm(x[i]) / np.linalg.norm(w[r]) / np.sqrt(cols))
    judge("synthetic, Student t (4)", w, x[:30], x[30:])


if __name__ == "__main__":
    main()
