"""llama.cpp's grammars, translated: which texts they allow, and what is no grammar."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterna import LLM
from sterna.engine.grammar import Grammar, GrammarError

JSON = r"""
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws  # members
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::=
  "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9]{1,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
"""
CALCULATION = r"""
root ::= (expr "=" ws term "\n")+
expr ::= term ([-+*/] term)*
term ::= ident | num | "(" ws expr ")" ws
ident ::= [a-z] [a-z0-9_]* ws
num ::= [0-9]+ ws
ws ::= [ \t\n]*
"""
CASES: list[tuple[str, list[str], list[str]]] = [
    ('root ::= "a"', ["a"], ["b", "", "aa"]),
    ('root ::= "a" | "b" |', ["a", "b", ""], ["ab"]),
    ('root ::= "a"*\n', ["", "aaa"], ["b"]),
    ('root ::= "ab"+ "c"?', ["ab", "ababc"], ["c", "aba"]),
    ('root ::= "a"{2} "b"{1,} "c"{0,2} "d"{ 1 , 2 }', ["aabd", "aabbccdd"], ["abd", "aacd", "aabcccd"]),
    ('root ::= [a-c] [^a-c\\n] [-x] [x-]', ["ad-x", "a日x-"], ["aa-x", "a\n-x", "adyx"]),
    ('root ::= "\\x41\\u00e9\\U0001F600\\t\\"\\\\\\[\\]"', ['Aé😀\t"\\[]'], ["A"]),
    ("root ::= . .", ["ab", "\n日"], ["a"]),
    ("root ::= [\\]\\\\] [\"'/.$^]", ["]/", "\\^"], ["a/"]),
    ('root ::= (\n  "a" # first\n  | "b"\n) rest\nrest ::= "c" |\n  "d"\n', ["ac", "bd"], ["cd", "a"]),
    ("# nothing but\n\nroot ::= Some-Rule some-rule\nSome-Rule ::= \"A\"\nsome-rule ::= \"a\"", ["Aa"], ["aA"]),
    ('root ::= "a"\nroot ::= "b"', ["b"], ["a"]),
    ('root ::= "(" root ")" | "x"', ["x", "((x))"], ["(x", "()"]),
    ('root ::= root "a" | "b"', ["baa", "b"], ["a"]),
    ('root ::= one | two\none ::= "1" two?\ntwo ::= "2" one?', ["1", "1212", "21"], ["11"]),
    ('root ::= ""', [""], ["a"]),
    ("root ::= <[65]> [a-z]", ["aq"], ["bq"]),
    (JSON, ['{"a":[1,true, {"b":"\\u00e9"}]}', "{}", '{ "x":-1.5e3,"y":null}\n  '], ["[]", '{"a"}', '{"a":01}', "{]"]),
    (CALCULATION, ["1+2=3\n", "(a *b_1)/2 = 5\n", "x=1\ny=2\n"], ["1+=2\n", "1=2"]),
]  # fmt: skip


@pytest.fixture(scope="module")
def llm() -> LLM:
    """The embedded model."""
    return LLM(threads=2)


def allows(llm: LLM, grammar: Grammar, text: str) -> bool:
    constraint = llm.grammars.compile(grammar)
    try:
        for token in [*llm.tokenizer.encode_continuation(text), *llm.tokenizer.eos_ids]:
            constraint.advance(token)
    except GrammarError:
        return False
    return True


@pytest.mark.parametrize(("text", "valid", "invalid"), CASES, ids=lambda value: ascii(value)[:30])
def test_a_grammar_allows_its_texts_and_no_others(llm: LLM, text: str, valid: list[str], invalid: list[str]) -> None:
    grammar = Grammar.gbnf(text)
    assert [text for text in valid if not allows(llm, grammar, text)] == []
    assert [text for text in invalid if allows(llm, grammar, text)] == []


def test_tokens_may_be_excluded_by_id(llm: LLM) -> None:
    completion = llm.complete(["Once"], grammar="root ::= !<[65]> <[66]>", temperature=5.0, seed=1, max_tokens=4)[0]
    assert completion.token_ids[0] != 65 and completion.token_ids[1] == 66


def test_generated_texts_follow_the_grammar(llm: LLM) -> None:
    import json

    texts = [llm.complete(["x"], grammar=JSON, temperature=1.0, seed=seed, max_tokens=150)[0] for seed in range(6)]
    finished = [completion.text for completion in texts if completion.stop_reason == "eos"]
    assert all(isinstance(json.loads(text), dict) for text in finished)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "root"), ("a ::= b", "root"), ("root ::= b", "'b'"), ("root = a", "'::='"),
        ('root ::= "a', "does not end"),
        ("root ::= [a", "does not end"), ("root ::= [b-a]", "range"), ("root ::= []", "class"),
        ('root ::= ("a"', "')'"),
        ('root ::= "a")', "end of the rule"), ('root ::= "\\q"', "escape"), ('root ::= "\\ud800"', "no character"),
        ('root ::= "\\U00110000"', "no character"), ('root ::= "a"{3,1}', "at least 3"), ('root ::= "a"{5000}', "5000"),
        ('root ::= "a"{1 2}', "repeats"), ('root ::= "a"**', "end of the rule"),
        ('root ::= <think', "token"), ('root ::= !<think>', "by its name"), ("::=", "name of a rule"),
        ('root ::= *', "end"),
        (f'root ::= {"(" * 31}"a"{")" * 31}', "parentheses"), (f"root ::= {'(' * 20_000}", "parentheses"),
        ('root ::= "' + "a" * 70_000 + '"', "too long"),
    ],
    ids=lambda value: ascii(value)[:30],
)  # fmt: skip
def test_what_is_no_gbnf_is_refused_in_a_sentence(text: str, words: str) -> None:
    with pytest.raises(GrammarError, match=r"^[^\n]+\.$") as caught:
        Grammar.gbnf(text)
    assert words in str(caught.value)


@given(st.text(alphabet='ab "[](){}|*+?.^-<>!\\:=#\nroot,1x', max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        Grammar.gbnf("root ::= " + text)
    except GrammarError as error:
        assert str(error).endswith(".")
