"""Compares the speed of Sterna with that of other engines on this machine: alternating runs, medians, ratios.

    python benchmarks/compare.py MODEL.gguf --peer llama.cpp=/path/to/llama-bench [--peer NAME=PROGRAM[:MODEL]] ...

A peer is any program with llama-bench's interface (`-m -p -n -t -r 1 -o json`; llama.cpp, ik_llama.cpp and bitnet.cpp
build one). It runs the same model, or the one given after the colon. Runs alternate, so that a machine that slows down
slows all engines alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence

Speeds = dict[str, float]
"""Tokens a second; the keys are `prefill` and `decode`."""


def run_sterna(model: str, arguments: argparse.Namespace) -> Speeds:
    """One run of `sterna bench`."""
    command = [sys.executable, "-m", "sterna", "bench", model, "-r", "1", "--json"]
    command += ["-p", str(arguments.prompt), "-n", str(arguments.generate), "-t", str(arguments.threads)]
    fields = json.loads(run(command))
    return {"prefill": fields["prefill_tps"][str(arguments.prompt)], "decode": fields["decode_tps"]}


def run_peer(program: str, model: str, arguments: argparse.Namespace) -> Speeds:
    """One run of llama-bench, whose output is a list with one entry for the prompt and one for the generation."""
    command = [program, "-m", model, "-r", "1", "-o", "json"]
    command += ["-p", str(arguments.prompt), "-n", str(arguments.generate), "-t", str(arguments.threads)]
    entries = json.loads(run(command))
    return {
        "prefill": next(e["avg_ts"] for e in entries if e["n_prompt"] > 0 and e["n_gen"] == 0),
        "decode": next(e["avg_ts"] for e in entries if e["n_gen"] > 0 and e["n_prompt"] == 0),
    }


def run(command: Sequence[str]) -> str:
    """The stdout of a program; exits with an error message if the program fails."""
    try:
        result = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        sys.exit(f"Error: {command[0]} cannot be run: {error.strerror}.")
    if result.returncode != 0:
        sys.exit(f"Error: {' '.join(command)} failed: {result.stderr.strip()[-500:]}")
    return result.stdout


def main() -> None:
    """Measures all engines and prints one line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a GGUF file")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PROGRAM[:MODEL]")
    parser.add_argument("-p", "--prompt", type=int, default=512)
    parser.add_argument("-n", "--generate", type=int, default=128)
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-r", "--repetitions", type=int, default=5)
    arguments = parser.parse_args()

    results: dict[str, list[Speeds]] = {"sterna": []}
    for _ in range(arguments.repetitions):
        results["sterna"].append(run_sterna(arguments.model, arguments))
        for peer in arguments.peer:
            name, _, rest = peer.partition("=")
            program, _, own_model = rest.partition(":")
            results.setdefault(name, []).append(run_peer(program, own_model or arguments.model, arguments))

    print(f"{'engine':<16}{'prefill':>10}{'decode':>10}   (tokens/s, medians of {arguments.repetitions})   sterna is")
    medians = {
        name: {kind: statistics.median(run[kind] for run in runs) for kind in ("prefill", "decode")}
        for name, runs in results.items()
    }
    for name, speeds in medians.items():
        ratios = {kind: medians["sterna"][kind] / speeds[kind] for kind in speeds}
        print(
            f"{name:<16}{speeds['prefill']:>10.1f}{speeds['decode']:>10.1f}"
            f"{'':>36}{ratios['prefill']:.2f} x in prefill, {ratios['decode']:.2f} x in decode"
        )


if __name__ == "__main__":
    main()
