"""`sterna eval --fetch`: data sets of a fake hub as files of tasks, their licences, and what goes wrong."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sterna.errors import NotFoundError
from sterna.evaluate.fetch import PARQUET
from sterna.evaluate.run import read_items
from sterna.evaluate.sets import SETS, set_of
from sterna.evaluate.tasks import item_of

from .fake_hub import OTHER_COMMIT, FakeHub, fake_hub
from .test_hub import Shell

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

LABELLED = {"text": ["iron", "wood"], "label": ["A", "B"]}
ROWS: dict[str, dict[str, Any]] = {
    "arc_easy": {"question": "What floats?", "choices": LABELLED, "answerKey": "B"},
    "arc_challenge": {"question": "What floats?", "choices": LABELLED, "answerKey": "B"},
    "piqa": {"goal": "Sail.", "sol1": "Raise the sail.", "sol2": "Raise the anchor.", "label": 0},
    "winogrande": {"sentence": "Ann met Eve since _ called.", "option1": "Ann", "option2": "Eve", "answer": "2"},
    "openbookqa": {"question_stem": "What floats is", "choices": LABELLED, "answerKey": "B"},
    "boolq": {"passage": "Wood floats.", "question": "does wood float", "label": 1},
    "lambada_openai": {"text": "the ship sailed on the sea"},
    "copa": {
        "premise": "It rained.",
        "choice1": "It was wet.",
        "choice2": "It was dry.",
        "question": "effect",
        "label": 0,
    },
    "wsc273": {
        "text": "The ship hit the rock because it was hidden.",
        "pronoun": "it",
        "pronoun_loc": 30,
        "options": ["The ship", "The rock"],
        "label": 1,
    },
    "mmlu": {"question": "1 + 1?", "subject": "sums", "choices": ["1", "2", "3", "4"], "answer": 1},
    "gsm8k": {"question": "What is 1 + 1?", "answer": "1 + 1 = <<1+1=2>>2\n#### 2"},
    "hellaswag": {
        "activity_label": "Sailing",
        "ctx_a": "A man sails. [header] He",
        "ctx_b": "he",
        "endings": ["sings [title] loudly.", "sinks."],
        "label": "1",
    },
    "blimp": {"sentence_good": "Ships sail.", "sentence_bad": "Ships sails.", "field": "syntax"},
}


def parquet(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with fake_hub() as hub:
        hub.branches[PARQUET] = OTHER_COMMIT
        for name, row in ROWS.items():
            wanted = SETS[name]
            files = hub.repos.setdefault(f"datasets/{wanted.repo}", {"README.md": b"#"})
            folder = f"{wanted.config or 'adjunct_island'}/{wanted.split}"
            files[f"{folder}/0000.parquet"] = parquet([row] * 2)
            files[f"{folder}/0001.parquet"] = parquet([row])
            files[f"{folder}-other/0000.parquet"] = b"never wanted"
        hub.licences["datasets/allenai/ai2_arc"] = ["cc-by-sa-4.0"]
        hub.licences["datasets/nyu-mll/blimp"] = "cc-by-4.0"
        yield hub


def test_every_task_of_the_table_makes_items() -> None:
    assert set(ROWS) == set(SETS)
    for name, row in ROWS.items():
        item_of(SETS[name].line(row))
    with pytest.raises(NotFoundError, match="are arc_easy, arc_challenge"):
        set_of("../x")


def test_prompts_are_those_of_lm_eval() -> None:
    def line(name: str) -> dict[str, Any]:
        return SETS[name].line(ROWS[name])

    assert line("arc_easy") == {"query": "Question: What floats?", "choices": ["iron", "wood"], "gold": 1}
    assert line("winogrande")["context_options"] == ["Ann met Eve since Ann", "Ann met Eve since Eve"]
    assert line("winogrande") | {"context_options": []} == {"context_options": [], "continuation": "called.", "gold": 1}
    assert item_of(line("boolq")).pairs == [
        ("Wood floats.\nQuestion: does wood float?\nAnswer:", f" {answer}") for answer in ("no", "yes")
    ]
    assert line("lambada_openai") == {"context": "the ship sailed on the", "continuation": "sea"}
    assert line("copa") == {"query": "It rained therefore", "choices": ["it was wet.", "it was dry."], "gold": 0}
    assert line("wsc273")["context_options"][1] == "The ship hit the rock because the rock"
    assert line("wsc273")["continuation"] == "was hidden."
    assert line("mmlu")["letter"] == "B" and line("gsm8k")["answer"] == "2"
    assert line("hellaswag") == {
        "query": "Sailing: A man sails. He He",
        "choices": ["sings. loudly.", "sinks."],
        "gold": 1,
    }


def test_only_files_of_the_split_inside_the_repository_are_parts() -> None:
    good = ["adjunct_island/train/0000.parquet", "wh_island.v2/train/0012.parquet"]
    bad = ["../train/0000.parquet", "./train/0000.parquet", "a/test/0000.parquet", "a/b/train/0000.parquet"]
    assert [path for path in (*good, *bad) if SETS["blimp"].is_part(path)] == good
    assert not SETS["mmlu"].is_part("all/test/0000.parquet\n")


def test_sets_are_fetched_with_their_licences_and_then_found(hub: FakeHub, tmp_path: Path) -> None:
    sterna = Shell(hub, tmp_path)
    told = sterna("eval", "--fetch", "arc_easy,blimp,piqa")
    assert told.returncode == 0, told.stderr
    first, second, third = told.stdout.splitlines()
    assert first.startswith("arc_easy: 3 items of allenai/ai2_arc (licence: cc-by-sa-4.0) in ")
    assert "cc-by-4.0" in second and "its page names no licence" in third
    assert len(read_items(tmp_path / "eval" / "arc_easy.jsonl", None)) == 3
    asked = len(hub.requests)
    result = sterna.json("eval", "--tasks", "arc_easy", "--limit", "1")
    assert result["tasks"]["arc_easy"]["n"] == 1 and len(hub.requests) == asked
    again = sterna.json("eval", "--fetch", "arc_easy", "--data", str(tmp_path / "own"))["fetched"][0]
    assert again["commit"] == OTHER_COMMIT and Path(again["path"]).parent == tmp_path / "own"
    got = [path for method, path, _ in hub.requests[asked:] if method == "GET" and path.endswith(".parquet")]
    assert got == []  # they are in the cache


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["--fetch", "arc_easy,nothing"], 1, "No data set is known for the task 'nothing'"),
        (["--fetch", "arc_easy", "--shots", "2"], 2, "runs no model"),
        (["--fetch", "arc_easy", "-t", "1"], 2, "runs no model"),
        (["--fetch", "arc_easy", "--tasks", "piqa"], 2, "one of the three"),
        (["--tasks", "piqa"], 1, "bring it by `sterna eval --fetch piqa`"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    arguments: list[str], status: int, sentence: str, hub: FakeHub, tmp_path: Path
) -> None:
    result = Shell(hub, tmp_path)("eval", *arguments)
    assert result.returncode == status and sentence in result.stderr and not hub.requests


def test_faults_of_a_set_are_told_and_leave_no_file(hub: FakeHub, tmp_path: Path) -> None:
    sterna = Shell(hub, tmp_path)
    hub.repos["datasets/baber/piqa"]["default/validation/0001.parquet"] = parquet([{"goal": "x"}])
    hub.repos["datasets/openai/gsm8k"] = {"../../main/test/0000.parquet": b"", "main/train/0000.parquet": b""}
    del hub.repos["datasets/cais/mmlu"]
    hub.repos["datasets/nyu-mll/blimp"]["adjunct_island/train/0001.parquet"] = b"PAR1 no"
    for name, sentence in (
        ("piqa", "Row 3 of baber/piqa has another form than piqa is made of."),
        ("gsm8k", "has no split test of main"),
        ("mmlu", "cais/mmlu is no dataset of the hub that everybody may see: set HF_TOKEN"),
        ("blimp", "Cannot read the Parquet file"),
    ):
        result = sterna("eval", "--fetch", name)
        assert result.returncode == 1 and sentence in result.stderr, result.stderr
        assert not (tmp_path / "eval" / f"{name}.jsonl").exists()
