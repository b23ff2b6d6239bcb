"""Measures the speed of one pass over 1 to 128 tokens, which shows any cliff between decode and prefill.

    python benchmarks/rows.py [MODEL.gguf | --synthetic 2B4T] [--plot rows.svg]

Each pass is a prompt of that many tokens; lengths alternate and medians are taken, so that a machine that slows down
slows all of them. `--plot` needs matplotlib.
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np

from sterna.bench.synthetic import synthetic_checkpoint
from sterna.engine.llm import LLM


def measure(llm: LLM, lengths: list[int], repetitions: int) -> dict[int, float]:
    """The median tokens a second of a prompt, by its length."""
    rng = np.random.default_rng(0)
    speeds: dict[int, list[float]] = {n: [] for n in lengths}
    for _ in range(repetitions):
        for n in rng.permutation(lengths).tolist():
            prompt = rng.integers(0, llm.vocab_size, n).tolist()
            speeds[n].append(llm.complete([prompt], max_tokens=1, ignore_eos=True)[0].prefill_tps)
    return {n: statistics.median(values) for n, values in speeds.items()}


def plot(speeds: dict[int, float], title: str, path: str) -> None:
    """Draws tokens a second against the number of tokens of a pass."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4))
    axes.plot(list(speeds), list(speeds.values()), marker=".")
    axes.set(xlabel="tokens in a pass", ylabel="tokens/s", title=title, ylim=(0, None), xlim=(0, None))
    axes.grid(alpha=0.3)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def main() -> None:
    """Measures, prints one line for each length, and draws the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="a GGUF file")
    parser.add_argument("--synthetic", default="2B4T")
    parser.add_argument("-t", "--threads", type=int)
    parser.add_argument("-r", "--repetitions", type=int, default=5)
    parser.add_argument("--plot", metavar="FILE")
    arguments = parser.parse_args()
    llm = LLM(arguments.model or synthetic_checkpoint(arguments.synthetic), threads=arguments.threads)
    lengths = [*range(1, 65), 72, 80, 96, 112, 128]
    speeds = measure(llm, lengths, arguments.repetitions)
    for n, speed in speeds.items():
        print(f"{n:>4}{speed:>10.1f}")
    if arguments.plot:
        name = arguments.model or arguments.synthetic
        plot(speeds, f"{name}, {llm.threads} threads, {llm.isa}", arguments.plot)


if __name__ == "__main__":
    main()
