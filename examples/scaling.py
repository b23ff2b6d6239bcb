"""A small scaling study: how far ternary and binary models stay behind full precision, by size and by tokens.

    python examples/scaling.py build/scaling            # nine runs of 500 steps
    python examples/scaling.py build/scaling --quick    # tiny runs, to see that it works

Three sizes, each with float, ternary and binary weights, on the same windows of the same text. It writes
`scaling.csv`, and `scaling.svg` with the gaps beside those that a paper prints. A study that was interrupted goes on.
`KEY=VALUE` after the folder replaces keys of examples/scaling.toml, such as training.steps=4000.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from sterna.train.trainer import run_training
from sterna.train.watch.records import RECORDS_FILE, read_records

CONFIG = Path(__file__).parent / "scaling.toml"
SIZES = {
    "small": {"hidden_size": 128, "intermediate_size": 384, "num_layers": 2},
    "medium": {"hidden_size": 128, "intermediate_size": 384, "num_layers": 4},
    "large": {"hidden_size": 256, "intermediate_size": 768, "num_layers": 2},
}
LEARNING_RATES = {"float": 2e-3, "ternary": 8e-3, "binary": 8e-3}
"""Quantised weights want a larger rate: 1.5e-3 against 2.5e-4 at 700M (Microsoft's "The Era of 1-bit LLMs: Training
Tips, Code and FAQ"). These are not tuned further, nor for each size."""
QUICK = [
    *("model.vocab_size=400", "model.context_length=16"),
    *('data.train=["data/hound-valid.txt"]', 'data.valid=["data/README.md"]'),
    *("training.steps=4", "training.batch_size=1", "training.eval_steps=2", "training.eval_bytes=200"),
    *("training.precision=fp32", "training.compile=false"),
]
PAPER = {0.7e9: (12.33, 12.87), 1.3e9: (11.25, 11.29), 3e9: (10.04, 9.91)}
"""Parameters: perplexity of LLaMA in FP16 and of BitNet b1.58, 100 billion tokens (arXiv 2402.17764, table 1)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--quick", action="store_true", help="a few tiny steps in place of the study")
    arguments = parser.parse_args()
    overrides = [*(QUICK if arguments.quick else []), *arguments.overrides]
    output = arguments.output.resolve()
    runs = [train(output, size, weights, overrides) for size in SIZES for weights in LEARNING_RATES]
    write_table(runs, output / "scaling.csv")
    plot(runs, output / "scaling.svg")
    for run in runs:
        gap = "" if run["weights"] == "float" else f"  {gap_at(runs, run, -1):+.1%} above float"
        loss = run["bits_per_byte"][-1]
        print(f"{run['size']:7} {run['weights']:8} {run['parameters']:>10,} parameters  {loss:.4f} bits per byte{gap}")
    print(output / "scaling.svg")


def train(output: Path, size: str, weights: str, overrides: list[str]) -> dict[str, Any]:
    """One run: its size in parameters of its layers, and its held-out bits per byte after so many tokens."""
    folder, shape = output / f"{size}-{weights}", SIZES[size]
    keys = [f"model.{key}={value}" for key, value in shape.items()]
    keys += [f"output={json.dumps(str(folder))}", f"quantization.weights={weights}"]
    result = run_training(CONFIG, overrides=[*keys, f"training.learning_rate={LEARNING_RATES[weights]}", *overrides])
    scored = [record for record in read_records(folder / RECORDS_FILE) if record["kind"] == "valid"]
    hidden, inner = shape["hidden_size"], shape["intermediate_size"]
    return {
        "size": size,
        "weights": weights,
        "parameters": shape["num_layers"] * (4 * hidden * hidden + 3 * hidden * inner),
        "tokens": [record["step"] * result.tokens // result.steps for record in scored],
        "bits_per_byte": [record["bits_per_byte"] for record in scored],
    }


def gap_at(runs: list[dict[str, Any]], run: dict[str, Any], index: int) -> float:
    """By what share a run's loss lies above that of the float run of its size, at one of the evaluations."""
    base = next(each for each in runs if each["size"] == run["size"] and each["weights"] == "float")
    return run["bits_per_byte"][index] / base["bits_per_byte"][index] - 1


def write_table(runs: list[dict[str, Any]], path: Path) -> None:
    """A line for each evaluation of each run; `above_float`: the share of loss above that of float weights."""
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("size", "weights", "parameters", "tokens", "bits_per_byte", "above_float"))
        for run in runs:
            for index, (tokens, loss) in enumerate(zip(run["tokens"], run["bits_per_byte"], strict=True)):
                gap = f"{gap_at(runs, run, index):.4f}"
                table.writerow((run["size"], run["weights"], run["parameters"], tokens, f"{loss:.4f}", gap))


def plot(runs: list[dict[str, Any]], path: Path) -> None:
    """Gaps against size (with the paper's) and against tokens."""
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    by_size, by_tokens = figure.subplots(1, 2)
    styles = dict(zip(SIZES, ("-", "--", ":"), strict=True))
    for weights, marker in (("ternary", "o"), ("binary", "s")):
        own = [run for run in runs if run["weights"] == weights]
        gaps = [100 * gap_at(runs, run, -1) for run in own]
        by_size.plot([run["parameters"] for run in own], gaps, marker=marker, label=f"{weights}, this study")
        for run in own:
            style = styles[run["size"]]
            gaps = [100 * gap_at(runs, run, index) for index in range(len(run["tokens"]))]
            color = "C0" if weights == "ternary" else "C1"
            by_tokens.plot(run["tokens"], gaps, style, color=color, label=f"{weights}, {run['parameters']:,}")
    paper = [100 * (math.log(bitnet) / math.log(llama) - 1) for llama, bitnet in PAPER.values()]
    by_size.plot(list(PAPER), paper, marker="*", color="C2", label="ternary, arXiv 2402.17764, table 1 (100B tokens)")
    by_size.set_xscale("log")
    by_size.set_xlabel("parameters (this study: of the layers)")
    by_tokens.set_xlabel("training tokens")
    for axes in (by_size, by_tokens):
        axes.axhline(0, color="0.6", linewidth=0.8)
        axes.set_ylabel("loss above full precision, %")
        axes.legend(fontsize=8)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "scaling"}):  # text as text, equal files
        figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
