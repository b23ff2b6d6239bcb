"""Gives each line of a text file one of some labels, and counts them.

    python examples/classify.py reviews.txt reviews.jsonl --labels praise complaint question --model bitnet-2b

The answers can be nothing but the labels (a `choice`). Many lines run at a time, and a job that was killed goes on with
the same command. The embedded model, which is the default, knows no meanings: its labels are chance.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

from sterna.batch import run


def write_requests(texts: Path, requests: Path, labels: list[str]) -> None:
    """Writes a line for `sterna.batch.run` for each line of text; `row` is what its output line begins with."""
    with requests.open("w", encoding="utf-8") as file:
        for text in texts.read_text("utf-8").splitlines():
            if text.strip():
                question = f"Which of these labels fits the text: {', '.join(labels)}?\n\nText: {text}\n\nLabel:"
                body = {"messages": [{"role": "user", "content": question}], "choice": labels, "temperature": 0}
                line = {"row": {"text": text}, "url": "/v1/chat/completions", "body": body}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path, help="a text a line, UTF-8")
    parser.add_argument("output", type=Path, help="JSON lines: the text, and its label as generated_text")
    parser.add_argument("--labels", nargs="+", required=True)
    parser.add_argument("--model", default="sterna-tern")
    arguments = parser.parse_args()

    requests = arguments.output.with_suffix(".requests.jsonl")
    write_requests(arguments.texts, requests, arguments.labels)
    report = run(requests, arguments.output, arguments.model)
    rows = [json.loads(line) for line in arguments.output.read_text("utf-8").splitlines()]
    for label, count in Counter(row["generated_text"] for row in rows).most_common():
        print(f"{count:6}  {label}")
    if report.failed:
        print(f"{report.failed:6}  not answered, in {arguments.output}.errors.jsonl")


if __name__ == "__main__":
    main()
