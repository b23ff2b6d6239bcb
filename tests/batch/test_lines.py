"""Lines of a job: what they ask, and what is said about those that ask nothing."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sterna.batch import source
from sterna.batch.lines import RawLine, entries, parse_line, seed_of
from sterna.batch.source import json_lines
from sterna.batch.window import by_prefix
from sterna.server.errors import ApiError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["custom_id", "method", "url", "body", "prompt", "messages", "n"])
VALUES = JSON | st.sampled_from(["POST", "/v1/completions", "/v1/embeddings", '{"prompt": "a"}'])


def raw(line: Any, number: int = 1) -> RawLine:
    return RawLine(number, line if isinstance(line, bytes) else json.dumps(line).encode())


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary() | st.dictionaries(FIELDS, VALUES).map(lambda line: json.dumps(line).encode()))
def test_any_bytes_are_a_line_or_an_error_of_one_sentence(data: bytes) -> None:
    try:
        line = parse_line(RawLine(1, data))
    except ApiError as error:
        assert error.status == 400 and error.message.endswith(".") and "\n" not in error.message
    else:
        assert isinstance(line.body, dict)
        assert (line.row is None) == (line.custom_id is not None)
        assert isinstance(line.prefix, str)


@pytest.mark.parametrize(
    "line, sentence",
    [
        (b"{", "no valid JSON"),
        (b"\xff", "no valid JSON"),
        (b'{"prompt": NaN}', "no valid JSON"),
        (b"[" * 100_000, "no valid JSON"),
        (b"9" * 5000, "no valid JSON"),
        (b"[]", "no JSON object"),
        ({"text": "a"}, "a url and a body, or messages, or a prompt"),
        ({"custom_id": "a", "url": "/v1/images", "body": {}}, "is one of /v1/chat/completions"),
        ({"custom_id": "a", "url": ["/v1/completions"], "body": {}}, "is one of /v1/chat/completions"),
        ({"url": "/v1/completions", "body": {}}, "custom_id is a text"),
        ({"custom_id": 7, "url": "/v1/completions", "body": {}}, "custom_id is a text"),
        ({"custom_id": "a", "method": "GET", "url": "/v1/completions", "body": {}}, "not 'GET'"),
        ({"custom_id": "a", "url": "/v1/completions", "body": [1]}, "body is no JSON object"),
        ({"custom_id": "a", "url": "/v1/completions", "body": "{"}, "body is no valid JSON"),
    ],
)
def test_a_line_that_asks_nothing_is_told_why(line: Any, sentence: str) -> None:
    with pytest.raises(ApiError, match=sentence):
        parse_line(raw(line))


def test_a_body_may_be_text_as_in_a_column_of_a_table() -> None:
    line = {"custom_id": "a", "url": "/v1/completions", "body": '{"prompt": "a"}', "method": None}
    assert parse_line(raw(line)).body == {"prompt": "a"}


def test_a_name_belongs_to_the_first_line_that_has_it() -> None:
    lines = [{"custom_id": name, "url": "/v1/completions", "body": {"prompt": "a"}} for name in "aba"]
    found = list(entries([raw(line, number) for number, line in enumerate(lines, 1)], "job"))
    assert [entry.error and entry.error.code for entry in found] == [None, None, "duplicate_custom_id"]


def test_a_key_depends_on_the_line_its_place_and_the_job() -> None:
    line = {"prompt": "a"}
    same = [(line, 1, "job"), (line, 1, "job")]
    others = [(line, 2, "job"), (line, 1, "other"), ({"prompt": "b"}, 1, "job")]
    keys = [next(entries([raw(*given)], job)).key for *given, job in (*same, *others)]
    assert keys[0] == keys[1] and len(set(keys)) == 4


def test_seeds_follow_the_name_of_a_line_or_else_its_number() -> None:
    named = {"custom_id": "a", "url": "/v1/completions", "body": {"prompt": "a"}}
    at = [seed_of(0, raw(named, number), parse_line(raw(named))) for number in (1, 2)]
    assert at[0] == at[1] != seed_of(1, raw(named), parse_line(raw(named)))
    plain = {"prompt": "a"}
    assert seed_of(0, raw(plain, 1), parse_line(raw(plain))) != seed_of(0, raw(plain, 2), parse_line(raw(plain)))


def test_lines_are_cut_at_newlines_and_blank_ones_are_only_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MOST_BYTES", 8)
    lines = list(json_lines(io.BytesIO(b"\xef\xbb\xbfa\r\n\n \nb\n123456789 and more\n12345678\n12345678 \nend")))
    assert [(line.number, line.data) for line in lines if line.flaw is None] == [
        (1, b"a"), (4, b"b"), (6, b"12345678"), (7, b"12345678"), (8, b"end"),
    ]  # fmt: skip
    assert [line.number for line in lines if line.flaw] == [5]


def test_lines_that_begin_alike_come_together_within_their_window() -> None:
    assert list(by_prefix(["b1", "a1", "b2", "c", "a2"], lambda text: text, window=3)) == ["a1", "b1", "b2", "a2", "c"]
