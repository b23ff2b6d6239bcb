"""Calls of tools: found in text however it is cut, streamed, never lost; grammars that make them valid."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterna import LLM
from sterna.engine.grammar import Grammar, GrammarError
from sterna.errors import ArgumentError
from sterna.model.tokenizer import Tokenizer
from sterna.server.events import CallArguments, CallStart, Event, Text, Thinking, joined
from sterna.server.tools import FORMS, ToolUse, parser, style_of
from sterna.server.tools.spec import read_tools
from tests.chat_templates import REAL, needs_real_templates
from tests.tiny_vocabularies import byte_level_json

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 8}, "unit": {"enum": ["C", "F"]}},
    "required": ["city", "unit"],
}
TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "description": "The weather", "parameters": CITY}},
    {"type": "function", "function": {"name": "now", "description": "The time"}},
]
ARGUMENTS = '{"city": "Ulm }]\\"", "unit": "C"}'
WRITTEN = '<parameter=city>\nUlm }]"\n</parameter>\n<parameter=unit>\nC\n</parameter>\n'
"""The same, between tags."""
ONE = [("get_weather", ARGUMENTS)]
TWO = [*ONE, ("now", "{}")]
CALLS: list[tuple[str, str, str, list[tuple[str, str]]]] = [
    ("hermes", f'<tool_call>\n{{"name": "get_weather", "arguments": {ARGUMENTS}}}\n</tool_call>', "", ONE),
    ("hermes", f'Hm.<tool_call>{{"arguments":{ARGUMENTS},"name":"get_weather"}}</tool_call>', "Hm.", ONE),
    ("hermes", f'<tool_call>{{"name": "get_weather", "arguments": {ARGUMENTS}}}', "", ONE),
    ("hermes", f'<tool_call>\n{{"name": "get_weather", "arguments": {ARGUMENTS}}}\n</tool_call>\n<tool_call>'
               '{"name": "now", "arguments": {}}</tool_call>\n', "", TWO),
    ("hermes", '<tool_call>{"name": "now"}</tool_call>', "", [("now", "{}")]),
    ("hermes", '<tool_call>{"name": "now", "arguments": "{\\"a\\": 1}"}</tool_call> Yes.', " Yes.",
     [("now", '{"a": 1}')]),
    ("hermes", '<tool_call><tool_call>{"name": "now"}</tool_call>', "<tool_call>", [("now", "{}")]),
    ("qwen3-coder", f"<tool_call>\n<function=get_weather>\n{WRITTEN}</function>\n</tool_call>", "", ONE),
    ("qwen3-coder", f"Hm.<tool_call><function=get_weather>{WRITTEN}</function>", "Hm.", ONE),
    ("qwen3-coder", f"<tool_call>\n<function=get_weather>\n{WRITTEN}</function>\n</tool_call>\n<tool_call>\n"
                    "<function=now>\n</function>\n</tool_call>\n", "", TWO),
    ("qwen3-coder", "<tool_call><function=now><parameter=a>\n\n</b>\n\n</parameter><parameter=b>[1]</parameter>"
                    "</function></tool_call>Yes.", "Yes.", [("now", '{"a": "\\n</b>\\n", "b": [1]}')]),
    ("qwen3-coder", "<tool_call><function=now></tool_call><tool_call><function=now></function>",
     "<tool_call><function=now></tool_call>", [("now", "{}")]),
    ("llama3", f'{{"name": "get_weather", "parameters": {ARGUMENTS}}}', "", ONE),
    ("llama3", f'<|python_tag|>{{"name": "get_weather", "parameters": {ARGUMENTS}}}', "", ONE),
    ("llama3", f' {{"type": "function", "name": "get_weather", "parameters": {ARGUMENTS}}}; {{"name": "now"}}',
     "", TWO),
    ("mistral", f'[TOOL_CALLS][{{"name": "get_weather", "arguments": {ARGUMENTS}}}]', "", ONE),
    ("mistral", f'Hm. [TOOL_CALLS] [{{"name": "get_weather", "arguments": {ARGUMENTS}, "id": "abc"}},{{"name":"now"}}]',
     "Hm. ", TWO),
    ("mistral-names", f"[TOOL_CALLS]get_weather[ARGS]{ARGUMENTS}", "", ONE),
    ("mistral-names", f"[TOOL_CALLS]get_weather[CALL_ID]a1B[ARGS]{ARGUMENTS}[TOOL_CALLS]now{{}}", "", TWO),
    ("generic", f'{{"tool_calls": [{{"name": "get_weather", "arguments": {ARGUMENTS}}}]}}', "", ONE),
    ("generic", f'So: {{"tool_calls": [{{"name": "get_weather", "arguments": {ARGUMENTS}}},{{"name": "now"}} ] }}',
     "So: ", TWO),
]  # fmt: skip
NO_CALLS: list[tuple[str, str]] = [
    ("hermes", "1 < 2 <tool"), ("hermes", "<tool_call>prose</tool_call>"), ("hermes", '<tool_call>{"name": "other"}'),
    ("hermes", '<tool_call>{"name": "now", "arguments": 5}</tool_call>'), ("hermes", "<tool_call>[1]"),
    ("hermes", '<tool_call>{"name": "now", "arguments": "no JSON"}'), ("hermes", '<tool_call>{"name": "now", "argu'),
    ("hermes", '<tool_call>{"name": 5, "arguments": {}}'), ("hermes", '<tool_call>{"arguments": {"a": ]}}'),
    ("qwen3-coder", "<tool_call>\n<function"), ("qwen3-coder", "<tool_call>now"),
    ("qwen3-coder", "<tool_call><function=later><parameter=a>1</parameter></function></tool_call>"),
    ("llama3", '{"answer": {"name": "now"}}'), ("llama3", "A {"), ("llama3", '<|python_tag|>print("now")'),
    ("llama3", '{"name": "Alice", "parameters": {}}'), ("llama3", 'Well, {"name": "now", "parameters": {}}'),
    ("mistral", "[TOOL_CALLS] none"), ("mistral", "[TOOL_CALLS][now]"), ("mistral-names", "[TOOL_CALLS]now"),
    ("mistral-names", "[TOOL_CALLS]now[ARGS]5"), ("mistral-names", "[TOOL_CALLS]later[ARGS]{}"), ("generic", "{}"),
    ("generic", '{"tool_calls": ['), ("generic", '{"tool_calls": [5]}'), ("generic", '{"tool_calls": [{"na'),
]  # fmt: skip


def events_of(style: str, pieces: Sequence[str], whole: bool = False) -> list[Event]:
    """The events of a text in pieces, neighbours of a kind joined; ids are numbers."""
    numbers = count()
    state = FORMS[style].parser(read_tools(TOOLS), whole, lambda: str(next(numbers)))
    events = [event for piece in pieces for event in state.feed(piece)] + state.finish()
    return joined(events)


def text_and_calls(events: Sequence[Event]) -> tuple[str, list[tuple[str, str]]]:
    starts = [event for event in events if isinstance(event, CallStart)]
    assert [event.index for event in starts] == list(range(len(starts)))
    arguments = ["".join(e.text for e in events if isinstance(e, CallArguments) and e.index == n.index) for n in starts]
    text = "".join(event.text for event in events if isinstance(event, Text))
    return text, [(start.name, given) for start, given in zip(starts, arguments, strict=True)]


def test_neighbouring_pieces_are_joined_and_others_are_not() -> None:
    events = [Text("a"), Text("b"), Thinking("c"), Thinking("d"), Text("e"), CallStart(0, "0", "now")]
    events += [CallArguments(0, "{"), CallArguments(0, "}"), CallArguments(1, "{}")]
    whole = [Text("ab"), Thinking("cd"), Text("e"), CallStart(0, "0", "now"), CallArguments(0, "{}")]
    assert joined(events) == [*whole, CallArguments(1, "{}")] and joined([]) == []


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("style", "answer", "text", "calls"), CALLS, ids=lambda value: str(value)[:40])
def test_calls_are_found(style: str, answer: str, text: str, calls: list[tuple[str, str]], whole: bool) -> None:
    for pieces in ([answer], list(answer)):
        assert text_and_calls(events_of(style, pieces, whole)) == (text, calls)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("style", "answer"), NO_CALLS)
def test_what_is_no_call_is_text(style: str, answer: str, whole: bool) -> None:
    for pieces in ([answer], list(answer)):
        assert text_and_calls(events_of(style, pieces, whole)) == (answer, [])


@pytest.mark.parametrize(
    ("style", "answer"), [(style, answer) for style, answer, _, calls in CALLS if calls == ONE and ARGUMENTS in answer]
)
def test_arguments_are_streamed_and_a_call_that_breaks_off_is_not_lost(style: str, answer: str) -> None:
    begin = answer.index(ARGUMENTS)
    cut = answer[: begin + 12]
    name_comes_first = "get_weather" in answer[:begin]
    text, calls = text_and_calls(events_of(style, list(cut)))
    if name_comes_first:
        assert calls == [("get_weather", ARGUMENTS[:12])] and text in ("", "Hm. ", "So: ")
        pieces = [e for p in [FORMS[style].parser(read_tools(TOOLS))] for c in answer for e in p.feed(c)]
        assert len([event for event in pieces if isinstance(event, CallArguments)]) == len(ARGUMENTS)
    else:
        assert (text, calls) == (cut, [])
    assert text_and_calls(events_of(style, list(cut), whole=True)) == (cut, [])


@pytest.mark.parametrize(
    ("cut", "arguments"),
    [("Ulm", '{"city": "Ulm'), ("</para", '{"city": "Ulm }]\\"\\n</para'), ("unit>", '{"city": "Ulm }]\\"", "unit": ')],
)
def test_texts_between_tags_are_streamed_and_a_call_that_breaks_off_is_not_lost(cut: str, arguments: str) -> None:
    answer = f"<tool_call><function=get_weather>{WRITTEN}"
    answer = answer[: answer.index(cut) + len(cut)]
    assert text_and_calls(events_of("qwen3-coder", list(answer))) == ("", [("get_weather", arguments)])
    assert text_and_calls(events_of("qwen3-coder", list(answer), whole=True)) == (answer, [])


MARKS = ["<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "<|python_tag|>", '{"tool_calls": [']
TAGS = ["<function=now>", "<function=get_weather>", "<parameter=city>", "<parameter=a>", "</parameter>", "</function>"]
FRAGMENTS = [*MARKS, *TAGS, '{"name": "now", "arguments": ', '{"name": "get_weather", "parameters": ', ARGUMENTS,
             "{}", "}", "]", '"', "\\", "now", ", ", ": ", "\n", " ", ";", "é", "[", "{", '"arguments"', "<",
             "text"]  # fmt: skip
ANSWERS = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=4))).map("".join)


@given(st.sampled_from(sorted(FORMS)), ANSWERS, st.lists(st.integers(0, 400)), st.booleans())
def test_cuts_change_nothing(style: str, answer: str, cuts: list[int], whole: bool) -> None:
    places = sorted({min(cut, len(answer)) for cut in cuts})
    pieces = [answer[begin:end] for begin, end in zip([0, *places], [*places, len(answer)], strict=True)]
    assert events_of(style, pieces, whole) == events_of(style, [answer], whole) == events_of(style, list(answer), whole)


@given(st.sampled_from(sorted(FORMS)), ANSWERS, st.booleans())
def test_nothing_is_lost(style: str, answer: str, whole: bool) -> None:
    """Text and arguments are those of the answer, in its order; where there is no call, that is all of it."""
    events = events_of(style, [answer], whole)
    text, calls = text_and_calls(events)
    assert calls or text.split() == answer.split()
    characters = iter(answer)
    is_rewritten = style == "qwen3-coder"  # its arguments are no JSON
    written = [event for event in events if isinstance(event, Text if is_rewritten else Text | CallArguments)]
    given = (character for event in written for character in event.text)
    assert all(character in characters for character in given)
    for name, arguments in calls:
        assert name in ("now", "get_weather") and (not whole or isinstance(json.loads(arguments), dict))


@given(st.text(alphabet='<tool_call>{}[]":,\\ nowargumes/TOL_CASI', max_size=80), st.sampled_from(sorted(FORMS)))
def test_garbage_never_raises(text: str, style: str) -> None:
    events_of(style, list(text))


def folder(path: Path, template: str) -> Tokenizer:
    """A tokenizer of 400 tokens with a chat template."""
    (path / "tokenizer.json").write_text(byte_level_json())
    (path / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    return Tokenizer(path)


@needs_real_templates
@pytest.mark.parametrize(
    ("name", "style"),
    [
        ("Qwen-Qwen3-0.6B", "hermes"), ("Qwen-Qwen2.5-7B-Instruct", "hermes"), ("Qwen3-Coder", "qwen3-coder"),
        ("NousResearch-Hermes-3-Llama-3.1-8B-tool_use", "hermes"), ("meta-llama-Llama-3.1-8B-Instruct", "llama3"),
        ("meta-llama-Llama-3.3-70B-Instruct", "llama3"), ("mistralai-Mistral-Nemo-Instruct-2407", "mistral"),
        ("Mistral-Small-3.2-24B-Instruct-2506", "mistral-names"),
        ("unsloth-Apriel-1.5", "generic"), ("unsloth-mistral-Devstral-Small-2507", "mistral-names"),
        ("GLM-4.6", "generic"), ("google-gemma-2-2b-it", "generic"), ("Qwen3.5-4B", "qwen3-coder"),
        ("NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "qwen3-coder"), ("ByteDance-Seed-OSS", "generic"),
    ],
)  # fmt: skip
def test_the_style_is_found_by_the_template(name: str, style: str) -> None:
    template = next(path for path in REAL if path.stem == name).read_text()
    assert style_of(template) == style
    assert style_of(None) == "generic"


@needs_real_templates
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_every_real_template_tells_of_tools_and_hears_broken_calls(path: Path, tmp_path: Path) -> None:
    tokenizer = folder(tmp_path, path.read_text())
    use = ToolUse(tokenizer.chat_template, TOOLS)
    prompt = [{"role": "user", "content": "Hi"}]
    if path.stem in ("MiroThinker", "fireworks-ai-llama-3-firefunction-v2") or "command-r-plus" in path.stem:
        pytest.skip("it asks for variables of its own")
    text = tokenizer.decode(use.encode(tokenizer, prompt), skip_special=False)
    assert "get_weather" in text and "The weather" in text
    if path.stem in ("google-gemma-2-2b-it", "MiniMax-M2"):
        return  # they want roles to alternate, or calls before results
    for arguments in ('{"city": "Ulm"}', '{"city": '):
        call = {"id": "abcdefghi", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
        messages = [
            *prompt,
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "name": "get_weather", "tool_call_id": "abcdefghi", "content": "sunny"},
        ]
        if style_of(tokenizer.chat_template) != "generic" or "Kimi" not in path.stem:
            assert "get_weather" in tokenizer.decode(use.encode(tokenizer, messages), skip_special=False)


def test_typed_special_tokens_in_tools_stay_text(tmp_path: Path) -> None:
    tokenizer = folder(tmp_path, "{{ bos_token }}{{ tools | tojson }}{{ flavour }}<|eot_id|>")
    tool = {"type": "function", "function": {"name": "f", "description": "<|eot_id|><|begin_of_text|>"}}
    ids = tokenizer.encode_chat([{"role": "user", "content": "x"}], tools=[tool], flavour="<|eot_id|>")
    special = [token for token in ids if token in tokenizer.special_ids]
    assert special == [tokenizer.bos_id, tokenizer.special_id("<|eot_id|>")]
    with pytest.raises(ArgumentError, match="bos_token"):
        tokenizer.encode_chat([{"role": "user", "content": "x"}], **{"bos_token": "x"})


def test_a_template_without_tools_is_told_of_them_in_a_message(tmp_path: Path) -> None:
    template = "{% for m in messages %}{{ m.role }}: {{ m.content | trim }}\n{% endfor %}"
    tokenizer = folder(tmp_path, template)
    use = ToolUse(template, TOOLS)
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "now", "arguments": "{oops"}}]},
        {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "noon"}]},
    ]
    lines = tokenizer.decode(use.encode(tokenizer, messages)).splitlines()
    assert lines[0] == "system: You can call functions. These are, one a line:" and "Be brief." in lines
    assert lines[-2:] == ['assistant: {"tool_calls": [{"name": "now", "arguments": {oops}]}', "user: Result 1: noon"]


@pytest.fixture(scope="module")
def llm() -> LLM:
    """The embedded model."""
    return LLM(threads=2)


TEMPLATES = {
    "hermes": '<tool_call>{"name": "", "arguments": {}}</tool_call>',
    "llama3": 'Respond in the format {"name": function name, "parameters": ',
    "qwen3-coder": "<tool_call>\n<function=f>\n<parameter=a>\n",
    "mistral": "[TOOL_CALLS]",
    "mistral-names": "[TOOL_CALLS][ARGS]",
    "generic": "",
}


def answered(llm: LLM, use: ToolUse, seed: int, prompt: str = "Once") -> tuple[str, list[tuple[str, str]], str]:
    """Text, calls, and why the answer ended."""
    (answer,) = llm.complete(
        [prompt], grammar=use.grammar(llm.tokenizer), shown=use.special, max_tokens=160, temperature=1.0, seed=seed
    )
    state = use.parser(whole=True)
    return *text_and_calls([*state.feed(answer.text), *state.finish()]), answer.stop_reason


@pytest.mark.parametrize("style", TEMPLATES)
def test_what_is_required_is_called_with_valid_arguments(llm: LLM, style: str) -> None:
    assert style_of(TEMPLATES[style]) == style
    named = ToolUse(TEMPLATES[style], TOOLS, {"type": "function", "function": {"name": "get_weather"}})
    single = ToolUse(TEMPLATES[style], TOOLS, "required", parallel=False)
    several = ToolUse(TEMPLATES[style], TOOLS, "required")
    seen: set[str] = set()
    for seed in range(8):
        text, calls, reason = answered(llm, named, seed)
        assert reason == "eos" and text == "" and [name for name, _ in calls] == ["get_weather"]
        jsonschema.validate(json.loads(calls[0][1]), CITY | {"additionalProperties": False})
        text, calls, reason = answered(llm, single, seed)
        assert reason == "eos" and text == "" and len(calls) == 1
        text, calls, reason = answered(llm, several, seed)
        assert calls and (reason == "length" or text == "")
        seen |= {name for name, _ in calls}
    assert seen == {"get_weather", "now"}


@pytest.mark.parametrize("style", TEMPLATES)
def test_what_is_not_required_is_text_until_the_mark(llm: LLM, style: str) -> None:
    use = ToolUse(TEMPLATES[style], TOOLS, "auto")
    mark = FORMS[style].mark

    def allowed(text: str, form: Grammar | None = None) -> bool:
        grammar = use.grammar(llm.tokenizer, form)
        assert grammar is not None
        constraint = llm.grammars.compile(grammar)
        try:
            for token in [*llm.tokenizer.encode_continuation(text), *llm.tokenizer.eos_ids]:
                constraint.advance(token)
        except GrammarError:
            return False
        return True

    assert allowed("Plain words, {1} [2] <3>.\n") and allowed("") and not allowed(f"{mark}nonsense")
    before = "" if style == "llama3" else "Let me see.\n"
    written = {
        "hermes": f'{mark}\n{{"name": "now", "arguments": {{}}}}\n</tool_call>',
        "qwen3-coder": f"{mark}\n<function=now>\n</function>\n</tool_call>",
        "llama3": 'now", "parameters": {}}'.join([mark, ""]),
        "mistral": f'{mark}[{{"name": "now", "arguments": {{}}}}]',
        "mistral-names": f"{mark}now[ARGS]{{}}",
        "generic": f'{mark}{{"name": "now", "arguments": {{}}}}]}}',
    }[style]
    assert allowed(before + written) and not allowed(before + written.replace("now", "later"))
    assert text_and_calls(events_of(style, [before, written])) == (before, [("now", "{}")])
    number = Grammar.json_schema({"type": "object", "properties": {"name": {"type": "integer"}}})
    assert allowed(written, number) and allowed('{"name":5}', number)
    for text in ("", "Plain words", '{"name":"now"}', "Let me see. " + written, '{"name":5}' + written):
        assert not allowed(text, number)


def test_marks_that_are_special_tokens_are_those_tokens(tmp_path: Path) -> None:
    tokenizer = folder(tmp_path, "[TOOL_CALLS]")
    use = ToolUse("[TOOL_CALLS]", TOOLS, "required")
    ids = {"[TOOL_CALLS]": 7}
    text = use._form.grammar(use.tools, "required", True, ids.get).text
    assert "start: <[7]> calls" in json.loads(text)["grammars"][0]["lark_grammar"]
    shown = tokenizer.stream(shown=["<|eot_id|>"])
    eot, bos = tokenizer.special_id("<|eot_id|>"), tokenizer.bos_id
    assert eot is not None and bos is not None and shown.push(bos) + shown.push(eot) == "<|eot_id|>"


def test_no_tools_and_none_change_nothing(llm: LLM) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    for use in (ToolUse(None, []), ToolUse(None, TOOLS, "none")):
        assert use.grammar(llm.tokenizer) is None and use.special == ()
        assert use.encode(llm.tokenizer, messages) == llm.tokenizer.encode_chat(messages)


@pytest.mark.parametrize(
    ("tools", "choice"),
    [
        ("f", "auto"), ([5], "auto"), ([{"type": "retrieval"}], "auto"), ([{"function": {"name": "a b"}}], "auto"),
        ([{"function": {"name": "f", "parameters": 5}}], "auto"), (TOOLS * 2, "auto"), (TOOLS, "maybe"), (TOOLS, {}),
        ([{"function": {"name": "f", "parameters": {"type": "string"}}}], "auto"), (TOOLS, {"name": "later"}),
        ([], "required"), (TOOLS * 100, "auto"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_what_are_no_tools_is_refused_in_a_sentence(tools: Any, choice: Any) -> None:
    with pytest.raises(ArgumentError, match=r"^[^\n]+\.$"):
        ToolUse(None, tools, choice)


def test_parameters_that_cannot_be_followed_are_refused_by_name(llm: LLM) -> None:
    tool = {"function": {"name": "f", "parameters": {"properties": {"a": {"uniqueItems": True}}}}}
    with pytest.raises(GrammarError, match="uniqueItems"):
        llm.generate("x", grammar=ToolUse(None, [tool]).grammar(llm.tokenizer), max_tokens=4)
    large = {"function": {"name": "f", "parameters": {"properties": {"a": {"enum": ["x" * 70_000]}}}}}
    with pytest.raises(GrammarError, match="'f'"):
        ToolUse(None, [large]).grammar(llm.tokenizer)


def test_parsers_are_made_by_the_name_of_their_style() -> None:
    assert parser(None, TOOLS).feed('{"tool_calls": [{"name": "now"}]}')[0].name == "now"  # type: ignore[union-attr]
    with pytest.raises(ArgumentError, match="hermes"):
        parser("morse", TOOLS)
