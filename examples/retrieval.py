"""Answers a question about a folder of texts, and names the passages that the answer is from.

    python examples/retrieval.py notes "Who keeps the light?" --model bitnet-2b --embedder bitnet-embedding-0.6b

Every .txt and .md file below the folder is cut into passages. The passages whose vectors are nearest to that of the
question go into the prompt, numbered. Without `--model` and `--embedder` the embedded model does both, which shows how
the program works; it can neither compare meanings nor answer.
"""

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sterna import LLM

SUFFIXES = {".txt", ".md"}


@dataclass(frozen=True)
class Passage:
    path: Path
    line: int
    text: str


def passages(path: Path, llm: LLM, most: int) -> Iterator[Passage]:
    """Cuts a file before words into passages of about `most` tokens; a paragraph that ends in the second half of a
    passage ends it."""
    text = path.read_text("utf-8", errors="replace")
    start = used = 0
    for word in re.finditer(r"\S{1,40}\s*", text):
        tokens = len(llm.tokenize(word[0]))
        if used and used + tokens > most or used > most // 2 and text.endswith("\n\n", start, word.start()):
            yield Passage(path, text.count("\n", 0, start) + 1, text[start : word.start()].strip())
            start, used = word.start(), 0
        used += tokens
    if text[start:].strip():
        yield Passage(path, text.count("\n", 0, start) + 1, text[start:].strip())


def nearest(embedder: LLM, found: list[Passage], question: str, count: int) -> list[tuple[float, Passage]]:
    """The passages most like the question, best first, each with the cosine of its vector and the question's."""
    cosines = embedder.embed([passage.text for passage in found]) @ embedder.embed([question])[0]
    return [(float(cosines[i]), found[i]) for i in np.argsort(-cosines)[:count]]


def prompt(question: str, best: list[tuple[float, Passage]]) -> str:
    sources = "\n\n".join(f"[{number}] {passage.text}" for number, (_, passage) in enumerate(best, 1))
    return (
        "Answer the question from these passages, and give the number of the passage that says so. "
        f"If none does, say that you do not know.\n\n{sources}\n\nQuestion: {question}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("question")
    parser.add_argument("--model", default="sterna-tern", help="the model that answers")
    parser.add_argument("--embedder", help="the model that makes vectors; default: the one that answers")
    parser.add_argument("--passages", type=int, default=3, help="how many passages go into the prompt")
    parser.add_argument("--max-tokens", type=int, default=200, help="the most tokens of the answer")
    arguments = parser.parse_args()

    llm = LLM(arguments.model)
    embedder = LLM(arguments.embedder) if arguments.embedder else llm
    # Half of the context is for the passages, the rest for the question and the answer.
    most = min(256, llm.context_length // (2 * arguments.passages), embedder.context_length // 2)
    files = sorted(path for path in arguments.folder.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    found = [passage for path in files for passage in passages(path, llm, most)]
    if not found:
        parser.error(f"there is no text in {arguments.folder}; its .txt and .md files are read")

    best = nearest(embedder, found, arguments.question, arguments.passages)
    messages = [{"role": "user", "content": prompt(arguments.question, best)}]
    print(llm.chat(messages, max_tokens=arguments.max_tokens).strip())
    print("\nSources:")
    for number, (cosine, passage) in enumerate(best, 1):
        print(f"[{number}] {passage.path}, line {passage.line} (similarity {cosine:.2f})")


if __name__ == "__main__":
    main()
