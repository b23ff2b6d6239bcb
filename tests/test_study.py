"""`sterna study degradation`: problems that are not in the training text, tasks, statistics, the table."""

from __future__ import annotations

import json
import random
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from sterna import LLM  # noqa: E402
from sterna.errors import ArgumentError, NotFoundError  # noqa: E402
from sterna.evaluate.scoring import Score  # noqa: E402
from sterna.study import degradation, models  # noqa: E402
from sterna.study.corpus import own_texts, write_corpus  # noqa: E402
from sterna.study.degradation import Row, Study, run_study  # noqa: E402
from sterna.study.language import agreement, cloze, generated, next_sentence  # noqa: E402
from sterna.study.precisions import WANTED, Precision, precisions  # noqa: E402
from sterna.study.report import lines, plot  # noqa: E402
from sterna.study.skills import SKILLS, problems, training_lines  # noqa: E402
from sterna.study.statistics import Ratio, counts, loss_ratio, mcnemar, retention  # noqa: E402
from sterna.study.tasks import LANGUAGE, Task, answers, tasks  # noqa: E402

from .command import sterna  # noqa: E402


def test_what_is_asked_is_in_no_line_of_training() -> None:
    trained = {line.strip() for line in islice(training_lines(1), 20_000)}
    for name in SKILLS:
        asked = problems(name, 50, 2)
        assert len(asked) >= 40 and asked == problems(name, 50, 2)
        assert not trained & {f"{each.question} {each.answer}" for each in asked}
        assert all(len({each.answer, *each.wrong}) == 4 for each in asked)


@pytest.mark.parametrize("seed", range(30))
def test_answers_are_right(seed: int) -> None:
    def asked(name: str) -> tuple[str, str]:
        question, answer, _ = SKILLS[name](random.Random(seed))
        return question, answer

    def number(text: str) -> int:
        return int(text.replace(" ", ""))

    question, answer = asked("addition")
    a, b = question.removesuffix(" =").split(" + ")
    assert number(answer) == number(a) + number(b)
    question, answer = asked("subtraction")
    a, b = question.removesuffix(" =").split(" - ")
    assert number(answer) == number(a) - number(b) >= 0
    question, answer = asked("running_sum")
    assert int(answer) == sum(int(digit) for digit in question if digit.isdigit()) % 10
    question, answer = asked("boolean")
    value, *rest = question.split()[1:-1]
    for word, other in zip(rest[::2], rest[1::2], strict=True):
        value = str(value == "True" and other == "True" if word == "and" else "True" in (value, other))
    assert answer == value
    question, answer = asked("brackets")
    whole = question.removeprefix("close ").removesuffix(" :") + " " + answer
    text = whole.replace(" ", "")
    for _ in text:
        text = text.replace("()", "").replace("[]", "")
    assert text == ""
    question, answer = asked("sorting")
    assert answer.split() == sorted(question.split()[1:-1])
    question, answer = asked("copying")
    assert answer == question.removeprefix("copy ").removesuffix(" :")
    question, answer = asked("reversal")
    assert answer.split() == question.split()[1:-1][::-1]
    question, answer = asked("chain")
    known: dict[str, str] = {}
    for step in question.removesuffix(" =").split(" ; ")[:-1]:
        name, value = step.split(" = ")
        known[name] = known.get(value, value)
    assert known[question.split()[-2]] == answer


def test_choices_of_language_have_the_right_one_first() -> None:
    texts = own_texts()[150:]
    for items in (cloze(texts, 20, 1), next_sentence(texts, 20, 1)):
        assert len(items) == 20
        assert all(len(set(ways)) == 4 and any(context + ways[0] in text for text in texts) for context, ways in items)
    assert len(generated("gender", 1000, 1)) < 1000 and len(generated("agreement", 100, 1)) == 100
    context, (right, wrong) = agreement(random.Random(3))
    assert context.startswith("The ") and right != wrong


def test_a_corpus_mixes_novels_and_problems(tmp_path: Path) -> None:
    written = write_corpus(tmp_path / "corpus.txt", ["A novel. " * 2000], 15_000, 1)
    parts = (tmp_path / "corpus.txt").read_text().split("<|endoftext|>")
    solved = [part for part in parts if "A novel" not in part]
    assert 15_000 <= written < 20_000 and 0.25 < sum(map(len, solved)) / written < 0.35
    with pytest.raises(ArgumentError, match="no text"):
        write_corpus(tmp_path / "none.txt", [], 10, 1)


def test_only_tasks_in_which_a_loss_can_be_seen_count() -> None:
    def right(share: float) -> np.ndarray:
        return np.arange(100) < 100 * share

    assert [counts(right(share), 0.25) for share in (0.4, 0.45, 0.97, 0.98)] == [False, True, True, False]
    assert retention(right(0.5), right(0.75), 0.25) == pytest.approx(0.5)


def test_models_are_compared_item_by_item() -> None:
    reference = np.arange(100) < 60
    assert mcnemar(reference, reference) == 1.0
    assert mcnemar(reference & (np.arange(100) >= 10), reference) == pytest.approx(2 / 2**10)


def test_the_ratio_has_an_interval_or_a_reason() -> None:
    reference = np.arange(400) < 300
    much, little = reference & (np.arange(400) >= 120), reference & (np.arange(400) >= 60)
    ratio = loss_ratio([(much, reference, 0.0)], [(little, reference, 0.0)])
    assert ratio.value == pytest.approx(2.0) and ratio.low is not None and ratio.high is not None
    assert 1.4 < ratio.low < 2.0 < ratio.high < 2.8 and ratio == loss_ratio(
        [(much, reference, 0.0)], [(little, reference, 0.0)]
    )
    assert loss_ratio([], [(little, reference, 0.0)]).reason == "no task of maths passes the filter"
    assert loss_ratio([(much, reference, 0.0)], [(reference, reference, 0.0)]).reason == "language loses nothing"
    barely = reference.copy()
    barely[[0, 350]] = False, True
    barely[1] = False
    found = loss_ratio([(much, reference, 0.0)], [(barely, reference, 0.0)])
    assert found.value is None and found.reason is not None and "cannot be told" in found.reason


def test_an_item_is_right_where_nothing_is_as_likely() -> None:
    task = Task("x", LANGUAGE, 0.5, [])
    assert task.right([Score(-1.0, False), Score(-2.0, False)])
    assert not task.right([Score(-1.0, False), Score(-1.0, False)])
    assert task.right([Score(-9.0, True)]) and not task.right([Score(-1.0, False)])


def test_a_model_answers_all_items() -> None:
    asked = tasks(5, 1, own_texts()[150:])
    assert {task.chance for task in asked if task.name == "boolean"} == {0.5}  # of two answers
    with LLM(threads=1) as llm:
        right = answers(llm, asked)
    assert {key: len(values) for key, values in right.items()} == {(t.kind, t.name): len(t.pairs) for t in asked}
    assert any(values.any() for values in right.values())


def test_methods_join_by_their_names() -> None:
    there, missing = precisions(4, 64)
    assert [name for name, _, _ in WANTED if name not in missing] == [precision.name for precision in there]
    assert "INT4 RTN" not in missing


def test_the_table_and_the_plot_say_what_was_found(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    none = Ratio(None, None, None, "no task of maths passes the filter")
    rows = [
        Row("F16", "float-0", False, 9_000, 1.5, None, 1.0, none, {}, {}),
        Row("binary (trained)", "binary", True, 2_000, 2.5, None, 0.5, Ratio(2.0, 1.5, 2.5, None), {}, {}),
    ]
    study = Study({}, {"float-0": []}, {"float-0": True}, rows, ["INT4 AWQ"], {"float-0": "ab"})
    text = "\n".join(lines(study))
    assert "tasks that count: none" in text and "none: no task of maths" in text and "2.00 (1.50 to 2.50)" in text
    assert "does not have them: INT4 AWQ" in text
    assert plot(study, tmp_path / "x.svg").read_bytes().startswith(b"<?xml")


def test_models_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="--train"):
        run_study(tmp_path, models.QUICK, train=False)
    assert sterna("study", "speed").returncode == 2
    assert sterna("study", "degradation", "--text", "x").returncode == 2


def test_a_folder_keeps_to_its_texts(tmp_path: Path) -> None:
    ours, other = tmp_path / "ours.txt", tmp_path / "other.txt"
    ours.write_text("A novel of the sea. " * 500)
    other.write_text("A novel of the hills. " * 500)
    folder = tmp_path / "study"
    models.prepare(folder, models.QUICK, [ours], [other])
    assert "of the sea" in (folder / models.CORPUS).read_text()
    models.check_texts(folder, [ours], [other])
    for texts, held_out in (([other], [ours]), ([], [])):
        with pytest.raises(ArgumentError, match="other texts"):
            run_study(folder, models.QUICK, True, texts, held_out)
    with pytest.raises(ArgumentError, match="cannot be read"):
        models.prepare(tmp_path / "new", models.QUICK, [tmp_path / "none.txt"], [other])


def test_a_model_that_was_trained_anew_is_quantised_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "float-0.gguf").write_bytes(b"weights")
    made: list[Path] = []

    def apply(source: Path, target: Path, calibration: Path) -> None:
        target.write_bytes(b"codes")
        made.append(target)

    class Measure:
        def __init__(self, asked: list[Task], text: str, told: object) -> None:
            self.right = {(task.kind, task.name): np.zeros(len(task.pairs), bool) for task in asked}

        def answers(self, path: Path, precision: str, model: str) -> dict[tuple[str, str], np.ndarray]:
            return self.right

        def bits_per_byte(self, path: Path) -> float:
            return 1.0

    monkeypatch.setattr(degradation, "_Measure", Measure)
    monkeypatch.setattr(degradation, "precisions", lambda samples, length: ([Precision("INT4", apply)], []))
    for digest in ("a" * 64, "a" * 64, "b" * 64):
        found = [models.Model("float-0", tmp_path / "float-0.gguf", digest)]
        monkeypatch.setattr(models, "found", lambda folder, size, found=found: found)
        run_study(tmp_path, models.QUICK, train=False)
    assert len(made) == len(set(made)) == 2


@pytest.mark.slow
def test_a_quick_study_runs_and_gives_the_same_counts_again(tmp_path: Path) -> None:
    arguments = ("study", "degradation", "--quick", "--folder", str(tmp_path), "--json")
    first, again = (json.loads(sterna(*arguments).stdout) for _ in range(2))
    assert first == again and [row["precision"] for row in first["rows"]][0] == "F16"
    assert {"ternary (trained)", "binary (trained)"} <= {row["precision"] for row in first["rows"]}
    assert all(len(digest) == 64 for digest in first["models"].values())
