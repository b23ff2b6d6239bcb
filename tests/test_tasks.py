"""`sterna eval --tasks`: log-probabilities, the shapes of tasks, metrics, and runs that go on."""

from __future__ import annotations

import json
import math
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sterna import LLM
from sterna.errors import ArgumentError, FormatError, NotFoundError
from sterna.evaluate.files import find_tasks, read_lines
from sterna.evaluate.perplexity import evaluate_tokens
from sterna.evaluate.run import Kept, Settings, evaluate_task
from sterna.evaluate.scoring import Question, Score, cut, encode_pair, score_ids, score_questions
from sterna.evaluate.statistics import wilson
from sterna.evaluate.tasks import item_of, last_number, summary
from sterna.evaluate.windows import windows

from .command import sterna
from .helpers import GEMMA3, QWEN35, TINY, log_softmax, tiny_checkpoint

CHOICES = {"query": "Question: Where do ships sail?", "choices": ["the sea", "a hat", "a very old stone"], "gold": 0}


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    with LLM(threads=2) as llm:
        yield llm


@pytest.fixture(scope="module")
def tiny() -> Iterator[LLM]:
    with LLM(tiny_checkpoint(TINY), threads=2) as llm:
        yield llm


def ids(seed: int, n: int) -> list[int]:
    return np.random.default_rng(seed).integers(0, TINY.vocab_size, n).tolist()


@pytest.mark.parametrize("first", [1, 2, 70, 99])
def test_scores_are_the_log_softmax_of_the_logits(tiny: LLM, first: int) -> None:
    tokens = ids(0, 100)
    logits = tiny.logits(tokens[:-1])[first - 1 :]
    expected = log_softmax(logits)[np.arange(len(logits)), tokens[first:]]
    scores = tiny.scores(tokens, first)
    np.testing.assert_allclose(scores[:, 0], expected, atol=1e-5)
    np.testing.assert_array_equal(scores[:, 1], logits.argmax(axis=1) == tokens[first:])


def test_rows_of_a_large_vocabulary_are_scored_some_at_a_time() -> None:
    config = replace(TINY, vocab_size=70_000)
    with LLM(tiny_checkpoint(config), threads=2) as llm:
        tokens = np.random.default_rng(0).integers(0, config.vocab_size, 101).tolist()  # more rows than go together
        logits = llm.logits(tokens[:-1])
        expected = log_softmax(logits)[np.arange(100), tokens[1:]]
        np.testing.assert_allclose(llm.scores(tokens)[:, 0], expected, atol=1e-5)


def test_a_whole_context_and_one_token_more_can_be_scored(tiny: LLM) -> None:
    assert tiny.scores(ids(1, TINY.context_length + 1)).shape == (TINY.context_length, 2)
    with pytest.raises(ArgumentError, match="begin at a token from 1 to 2, not 3"):
        tiny.scores([1, 2, 3], 3)


def test_equal_logits_have_one_greedy_token() -> None:
    model = tiny_checkpoint(TINY)
    with LLM(model, threads=1) as llm:
        top = [int(row.argmax()) for row in llm.logits(ids(3, 20))]
        following = [*ids(3, 20)[:1], *top]
        assert llm.scores(following[:2], 1)[0, 1] == 1.0


@pytest.mark.parametrize("config", [TINY, GEMMA3, QWEN35], ids=lambda config: config.architecture)
def test_scores_have_the_same_bits_in_any_order_and_any_batch(config: Any) -> None:
    shared = [1 + token % 90 for token in ids(4, 70)]
    questions = [
        (n, [([*shared, *ids(10 * n + k, 3 + k)], 70) for k in range(4)] if n % 2 else [(ids(n, 9 + n), 5)])
        for n in range(9)
    ]
    with LLM(tiny_checkpoint(config), threads=2) as llm:
        forward = dict(score_ids(llm, questions))
        backward = dict(score_ids(llm, [(n, pairs[::-1]) for n, pairs in questions[::-1]]))
        alone = {
            n: [score for pair in pairs for score in dict(score_ids(llm, [(0, [pair])]))[0]] for n, pairs in questions
        }
    assert forward == alone and forward == {n: scores[::-1] for n, scores in backward.items()}
    with LLM(tiny_checkpoint(config), threads=1) as llm:
        assert dict(score_ids(llm, questions)) == forward


def test_choices_share_the_beginning_of_their_question() -> None:
    with LLM(tiny_checkpoint(TINY), threads=1) as llm:
        shared = ids(5, 80)
        list(score_ids(llm, [(0, [([*shared, *ids(n, 4)], 80) for n in range(4)])]))
        # All of the beginning for each but the first, but for its last token, whose row is wanted again.
        assert llm.statistics.prefix_hits == 3 * 79 and llm.statistics.tokens == 83 + 3 * 4


def test_a_text_is_scored_in_windows_of_at_most_a_context(tiny: LLM) -> None:
    tokens = np.asarray(ids(8, 40), np.int32)
    spans = windows(40, 16)
    expected = -sum(tiny.scores(tokens[start:end], first - start)[:, 0].sum() for start, end, first in spans) / 39
    assert len(spans) > 3 and evaluate_tokens(tiny, tokens, 40, window=16).nll_per_token == pytest.approx(expected)
    whole = evaluate_tokens(tiny, tokens, 40)
    assert whole.nll_per_token == evaluate_tokens(tiny, tokens, 40, window=10**6).nll_per_token
    assert whole.nll_per_token != pytest.approx(expected)


def test_questions_after_the_same_examples_fill_passes() -> None:
    examples = ids(5, 200)
    questions = [(n, [([*examples, *ids(n, 8)], 200)]) for n in range(80)]
    with LLM(tiny_checkpoint(replace(TINY, context_length=512)), threads=1) as llm:
        assert len(dict(score_ids(llm, questions))) == 80
        # The first few questions have the examples each; then a pass of 128 tokens has 16 questions.
        assert llm.statistics.tokens < 2000 and llm.statistics.passes <= 16


def test_choices_that_begin_alike_share_their_scores() -> None:
    question, choice = ids(5, 70), ids(6, 30)
    choices = [choice, choice[:20], [*choice[:10], *ids(7, 9)], choice[:1], choice]
    pairs = [([*question, *each], 70) for each in choices]
    with LLM(tiny_checkpoint(TINY), threads=1) as llm:
        scores = dict(score_ids(llm, [(0, pairs)]))[0]
        assert llm.statistics.tokens == 99 + 9  # the longest, and what the third has of its own
    with LLM(tiny_checkpoint(TINY), threads=1) as llm:
        rows = [llm.scores(*pair) for pair in pairs]
    assert [score.logprob for score in scores] == [float(each[:, 0].sum(dtype=np.float64)) for each in rows]
    assert [score.greedy for score in scores] == [bool(each[:, 1].all()) for each in rows]


def test_a_question_without_a_shared_block_is_submitted_once(
    tiny: LLM, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    submit = tiny.submit

    def slow(requests: Any) -> None:
        """Returns when all requests have ended, as they may before the next line of the caller."""
        submit(requests)
        while not all(request.finished for request in requests):
            time.sleep(0.001)
        tiny.settle()

    monkeypatch.setattr(tiny, "submit", slow)
    assert len(dict(score_ids(tiny, [(0, [([1, 2, n], 1) for n in range(3)])]))[0]) == 3
    assert not caplog.records, "a request that was submitted again is refused on the engine's thread"


def test_a_pair_is_split_as_lm_eval_splits_it(llm: LLM) -> None:
    whole, first = encode_pair(llm, "The ship ", "sails")
    assert (whole, first) == (llm.tokenize("The ship sails"), len(llm.tokenize("The ship")))
    whole, first = encode_pair(llm, "", "The ship")
    assert first == 1 and whole[1:] == llm.tokenize("The ship")[-len(whole) + 1 :]
    long = list(range(llm.context_length + 5))
    assert cut(llm, long, 50) == (long[4:], 46) and cut(llm, long, 2) == (long[4:], 1)


def test_errors_of_one_pair_are_raised_and_leave_the_engine_usable(tiny: LLM) -> None:
    with pytest.raises(ArgumentError):
        list(score_ids(tiny, [(0, [([1, 2], 1)]), (1, [([1, 2, TINY.vocab_size], 1)])]))
    assert tiny.scores([1, 2]).shape == (1, 2)


def score(*logprobs: float) -> list[Score]:
    return [Score(value, 0.0) for value in logprobs]


def test_each_shape_has_its_metrics() -> None:
    item = item_of(CHOICES)
    assert item.pairs[0] == ("Question: Where do ships sail?\nAnswer:", " the sea")
    assert item.results(score(-7.0, -5.0, -15.0)) == {"acc": 0.0, "acc_norm": 0.0}
    assert item.results(score(-5.0, -5.0, -15.0)) == {"acc": 1.0, "acc_norm": 1.0}  # the first of equals
    assert item.results(score(-6.0, -5.0, -9.0))["acc_norm"] == 0.0  # nine characters for 16
    options = item_of({"context_options": ["so Sarah", "so Maria"], "continuation": "won.", "gold": 1})
    assert options.pairs == [("so Sarah", " won."), ("so Maria", " won.")] and options.results(score(-2, -1)) == {
        "acc": 1
    }
    word = item_of({"context": "I don't care about", "continuation": "signs"})
    assert word.results([Score(-2.0, 1.0)]) == {"acc": 1.0, "nll": 2.0}
    pair = item_of({"sentence_good": "He is.", "sentence_bad": "He are."})
    assert pair.pairs[0] == ("", "He is.") and pair.results(score(-3, -2)) == {"acc": 0.0}
    number = item_of({"context": "1+1?", "answer": "2", "chain_of_thought": "One and one."})
    assert number.prompt == "Question: 1+1?\nAnswer:" and number.check("It is $1,002, no: 2.0") == {"exact_match": 1.0}
    assert number.shown.endswith("One and one.\n#### 2") and number.check("none") == {"exact_match": 0.0}
    letters = item_of({"question": "Q?", "A": "a", "B": "b", "C": "c", "D": "d", "letter": "C", "subject": "s"})
    assert letters.pairs[2] == ("Q?\nA. a\nB. b\nC. c\nD. d\nAnswer:", " C")
    assert letters.results(score(-4, -3, -1, -2)) == {"acc": 1.0}


@pytest.mark.parametrize(
    "line",
    [
        {},
        {"query": "x"},
        {"query": 1, "choices": ["a"], "gold": 0},
        {"query": "x", "choices": [], "gold": 0},
        {"query": "x", "choices": ["a", 2], "gold": 0},
        {"query": "x", "choices": ["a"], "gold": 1},
        {"query": "x", "choices": ["a"], "gold": True},
        {"question": "x", "A": "", "B": "", "C": "", "D": "", "letter": "E"},
        {"question": "x", "A": "", "B": "", "C": "", "D": "", "letter": ""},
        {"sentence_good": "", "sentence_bad": "x"},
        {"context": "x", "answer": "none"},
    ],
)
def test_a_line_of_no_known_shape_is_one_sentence(line: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match=r"\.$"):
        item_of(line)


def test_statistics() -> None:
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4) and wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 10)[0] == pytest.approx(0) and wilson(10, 10)[1] == pytest.approx(1)
    found = summary([{"acc": 1.0, "nll": 1.0}, {"acc": 0.0, "nll": 3.0}])
    assert found["acc"] == 0.5 and found["perplexity"] == pytest.approx(math.exp(2)) and found["n"] == 2
    assert [last_number(text) for text in ("a -3.5 b", "$1,000", "no", "7.")] == [-3.5, 1000, None, 7]


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_tasks_are_found_by_name_file_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = write(tmp_path / "openbook_qa.jsonl", [CHOICES])
    assert find_tasks("openbookqa", tmp_path) == [("openbookqa", one)]
    assert find_tasks(f"{one},{tmp_path}", tmp_path / "none") == [("openbook_qa", one)] * 2
    monkeypatch.chdir(tmp_path)
    for wrong in ("piqa", "../openbook_qa", "", "openbookqa,", "a\0b"):
        with pytest.raises(NotFoundError, match=r"\.$"):
            find_tasks(wrong, tmp_path)


@pytest.mark.parametrize("text", ["[1]\n", "{\n", "\n" + "[" * 100_000, "3\n"])
def test_a_file_that_is_no_task_is_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(FormatError, match=r"line \d is no JSON object\.$"):
        list(read_lines(tmp_path / "x.jsonl"))


def test_the_archive_of_mmlu_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "mmlu.zip", "w") as archive:
        archive.writestr("data/dev/law_dev.csv", "no,a,b,c,d,A\n")
        archive.writestr("data/test/law_test.csv", '"Is it, so?",yes,no,maybe,never,B\n')
    (line,) = read_lines(tmp_path / "mmlu.zip")
    assert line["question"] == "Is it, so?" and line["letter"] == "B" and line["subject"] == "law"
    whole = bytearray((tmp_path / "mmlu.zip").read_bytes())
    encrypted, deflated = whole.copy(), whole.copy()
    local = whole.rindex(b"PK\x03\x04")
    central = whole.rindex(b"PK\x01\x02")
    encrypted[local + 6] = encrypted[central + 8] = 1  # flags: encrypted
    deflated[local + 8] = deflated[central + 10] = 8  # the method: deflated, which the bytes are not
    lzma, patched = whole.copy(), whole.copy()
    lzma[local + 8] = lzma[central + 10] = zipfile.ZIP_LZMA
    patched[local + 6] = patched[central + 8] = 0x20  # flags: compressed patched data, which zipfile does not read
    for broken in (b"PK", encrypted, deflated, lzma, patched):
        (tmp_path / "broken.zip").write_bytes(broken)
        with pytest.raises(FormatError, match="no archive"):
            list(read_lines(tmp_path / "broken.zip"))


def test_a_task_is_evaluated_and_shots_stand_before_the_others(llm: LLM, tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", [{**CHOICES, "query": f"Question: Is it {n}?", "gold": n % 3} for n in range(6)])
    whole = evaluate_task(llm, "x", path, Settings())
    assert whole["n"] == 6 and 0 <= whole["low"] <= whole["acc"] <= whole["high"] <= 1
    assert evaluate_task(llm, "x", path, Settings(limit=2, shots=1))["n"] == 2
    before = item_of({**CHOICES, "query": "Question: Is it 0?"}).shown + "\n\n"
    pairs = [(before + context, text) for context, text in item_of(json.loads(path.read_text().splitlines()[1])).pairs]
    ((_, scores),) = score_questions(llm, [Question(0, pairs)])
    expected = max(range(3), key=lambda index: scores[index].logprob) == 1
    assert evaluate_task(llm, "x", path, Settings(limit=1, shots=1))["acc"] == float(expected)
    with pytest.raises(FormatError, match="none is left after 6 shots"):
        evaluate_task(llm, "x", path, Settings(shots=6))


def test_texts_are_generated_where_a_number_is_asked_for(llm: LLM, tmp_path: Path) -> None:
    path = write(tmp_path / "g.jsonl", [{"context": "How many?", "answer": "3"}] * 3)
    found = evaluate_task(llm, "g", path, Settings(limit=2))
    assert found["n"] == 2 and 0 <= found["exact_match"] <= 1


def test_lines_of_several_shapes_are_refused(llm: LLM, tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", [CHOICES, {"sentence_good": "He is.", "sentence_bad": "He are."}])
    with pytest.raises(FormatError, match=r"x\.jsonl: Its lines have several shapes"):
        evaluate_task(llm, "x", path, Settings())
    assert evaluate_task(llm, "x", path, Settings(limit=1))["n"] == 1


def test_a_run_goes_on_with_what_it_kept(llm: LLM, tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", [{**CHOICES, "query": f"Is it {n}?"} for n in range(4)])
    file, identity = tmp_path / "kept", {"model": "m"}
    with Kept(file, identity) as kept:
        first = evaluate_task(llm, "x", path, Settings(limit=3), kept)
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:3]) + lines[3][:10])  # broken off in the third
    with Kept(file, identity) as kept:
        assert evaluate_task(llm, "x", path, Settings(limit=3), kept) == first
    assert len(file.read_text().splitlines()) == 4
    write(path, [{**CHOICES, "query": "Is it another?"}])
    with Kept(file, identity) as kept:
        evaluate_task(llm, "x", path, Settings(), kept)
    assert len(file.read_text().splitlines()) == 5
    for other in (identity | {"model": "n"}, {}):
        with pytest.raises(ArgumentError, match="another model"):
            Kept(file, other)
    for broken in (
        "no JSON\n",
        '{}\n{"task": "x", "item": "a", "results": {}}\n',
        '{}\n{"task": "x", "item": 0, "results": 1}\n',
    ):
        file.write_text(broken)
        with pytest.raises(ArgumentError, match="no results"):
            Kept(file, identity)


def test_the_verb_evaluates_tasks(tmp_path: Path) -> None:
    path = write(tmp_path / "arc_easy.jsonl", [CHOICES] * 2)
    found = json.loads(sterna("eval", "--tasks", "arc_easy", "--data", str(tmp_path), "--json").stdout)["tasks"]
    assert set(found["arc_easy"]) == {"acc", "acc_norm", "n", "low", "high"}
    text = sterna("eval", "--tasks", str(path), "--limit", "1", "--keep", str(tmp_path / "kept")).stdout
    assert text.startswith("arc_easy: acc ") and "n = 1)" in text
    (tmp_path / "other").mkdir()
    other = write(tmp_path / "other" / path.name, [CHOICES])
    for arguments in (
        ["--tasks", "x", "--text", "y"],
        [],
        ["--text", "y", "--limit", "3"],
        ["--tasks", f"{path},{other}"],
    ):
        assert sterna("eval", *arguments).returncode == 2
    missing = sterna("eval", "--tasks", "piqa", "--data", str(tmp_path))
    assert missing.returncode == 1 and "has no file piqa.jsonl" in missing.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["arc_easy", "arc_challenge", "piqa", "openbook_qa", "copa", "lambada_openai"])
def test_tasks_equal_lm_eval_to_the_item(name: str, llm: LLM, tmp_path: Path) -> None:
    """lm-eval reads the same file by a YAML of the same prompts, and scores with our adapter."""
    pytest.importorskip("lm_eval")
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    from sterna.evaluate.lm_eval import SternaLM

    from .helpers import shared

    source, limit = shared("eval", f"{name}.jsonl"), 100
    lines = source.read_text().splitlines()[:limit]
    file = tmp_path / "data.jsonl"
    file.write_text("\n".join(lines) + "\n")
    common = {
        "task": f"own_{name}",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(file)}},
        "test_split": "test",
    }
    metric: dict[str, Any] = {"aggregation": "mean", "higher_is_better": True}
    if name == "lambada_openai":
        kind = {
            "output_type": "loglikelihood",
            "doc_to_text": "{{context}}",
            "doc_to_target": "{{' ' + continuation}}",
            "target_delimiter": "",
            "metric_list": [
                {"metric": "acc", **metric},
                {"metric": "perplexity", **metric, "aggregation": "perplexity"},
            ],
        }
    else:
        suffix = "\nAnswer:" if json.loads(lines[0])["query"].startswith("Question:") else ""
        kind = {
            "output_type": "multiple_choice",
            "doc_to_text": "{{query.rstrip()}}" + suffix,
            "doc_to_choice": "choices",
            "doc_to_target": "gold",
            "metric_list": [{"metric": "acc", **metric}, {"metric": "acc_norm", **metric}],
        }
    (tmp_path / "task.yaml").write_text(json.dumps(common | kind))  # JSON is YAML
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    judged = simple_evaluate(
        model=SternaLM(llm), tasks=[f"own_{name}"], task_manager=manager, bootstrap_iters=0, log_samples=True
    )
    own = evaluate_task(llm, name, file, Settings())
    for metric_name, value in own.items():
        if metric_name not in ("n", "low", "high"):
            assert judged["results"][f"own_{name}"][f"{metric_name},none"] == pytest.approx(value, rel=1e-6)
