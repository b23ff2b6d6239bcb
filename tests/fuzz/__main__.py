"""The fuzzing job: `python -m tests.fuzz --minutes 30 [TARGET ...]`; needs `pip install atheris`.

Each target gets an equal share of the time, and starts from its seeds in `corpus/`. An input that breaks a target is
written to the folder `--findings`. Once its bug is fixed, the input belongs in `corpus/TARGET/`, where every CI run
reads it again. Prints a table.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

from .targets import CORPUS, TARGETS

OPTIONS = "-timeout=10 -rss_limit_mb=1000 -max_len=16384 -print_final_stats=1 -verbosity=1".split()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"default: all of {', '.join(TARGETS)}")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--findings", type=Path, default=Path("findings"))
    arguments = parser.parse_args()
    targets = arguments.targets or list(TARGETS)
    if unknown := set(targets) - set(TARGETS):
        parser.error(f"there is no target {', '.join(sorted(unknown))}")
    arguments.findings.mkdir(parents=True, exist_ok=True)
    seconds = int(60 * arguments.minutes / len(targets))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    print(f"Commit {commit}, {date.today()}, atheris, {seconds} s a target.\n")
    print("| target | executions | features reached | findings |\n|---|---|---|---|", flush=True)
    broken = False
    for target in targets:
        executions, features, findings = fuzz(target, seconds, arguments.findings)
        broken |= findings != []
        print(f"| {target} | {executions:,} | {features:,} | {', '.join(findings) or 'none'} |", flush=True)
    return int(broken)


def fuzz(target: str, seconds: int, findings: Path) -> tuple[int, int, list[str]]:
    """Fuzzes a target; returns the executions, libFuzzer's count of features, and the files that broke the target."""
    with tempfile.TemporaryDirectory() as grown:
        command = [sys.executable, "-m", "tests.fuzz.harness", target, *OPTIONS, f"-max_total_time={seconds}"]
        prefix = f"-artifact_prefix={findings}/{target}-"
        result = subprocess.run([*command, prefix, grown, str(CORPUS / target)], capture_output=True, text=True)
    log = result.stdout + result.stderr
    (findings / f"{target}.log").write_text(log)
    executions = re.findall(r"stat::number_of_executed_units:\s*(\d+)", log)
    features = re.findall(r"ft: (\d+)", log)
    files = sorted(path.name for path in findings.glob(f"{target}-*"))
    if result.returncode != 0 and not files:
        files = [f"status {result.returncode}, see {target}.log"]
    return int(executions[-1]) if executions else 0, int(features[-1]) if features else 0, files


if __name__ == "__main__":
    sys.exit(main())
