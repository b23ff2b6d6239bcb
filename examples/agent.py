"""An agent: a model that uses a calculator and a search in files until it can answer, within a number of turns.

    pip install openai
    sterna serve bitnet-2b                                # in another terminal
    python examples/agent.py "What do three lamps of the list cost together?" --folder notes

What the model asks for is printed on stderr. The server makes sure that each call names a tool and has its arguments;
whether the call is sensible is up to the model, and models below some billion parameters seldom are. The embedded
model is not trained for it at all.
"""

import argparse
import ast
import json
import operator
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openai import OpenAI

OPERATORS: dict[type, Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
}
MOST_LINES = 10
MOST_BYTES = 1 << 20


def calculate(expression: str) -> str:
    """The value of an expression of numbers, + - * / and brackets."""

    def value(node: ast.AST) -> float:
        match node:
            case ast.Constant(value=int() | float() as number):
                return float(number)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
                return OPERATORS[type(op)](value(left), value(right))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -value(operand)
        raise ValueError("only numbers, + - * / and brackets are allowed")

    return f"{value(ast.parse(expression.strip(), mode='eval').body):.10g}"


def search(folder: Path, word: str) -> str:
    """The lines of the folder's text files that have a word, with their files."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= MOST_BYTES:
            for line in path.read_text("utf-8", errors="replace").splitlines():
                if word.lower() in line.lower():
                    found.append(f"{path.relative_to(folder)}: {line.strip()[:200]}")
    return "\n".join(found[:MOST_LINES]) or "No line has this word."


def tool(name: str, description: str, argument: str) -> dict[str, Any]:
    """A tool with one argument, a short text, as OpenAI's API describes it."""
    parameters = {
        "type": "object",
        "properties": {argument: {"type": "string", "maxLength": 80}},
        "required": [argument],
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


TOOLS = [
    tool("calculate", "Computes an expression such as (2 + 3) * 4.5", "expression"),
    tool("search", "Finds the lines of the user's files that have a word", "word"),
]


def use(name: str, arguments: str, folder: Path) -> str:
    """What a call of a tool gives; an error is a text, too, from which the model may learn."""
    try:
        given = json.loads(arguments)
        return calculate(given["expression"]) if name == "calculate" else search(folder, given["word"])
    except (ArithmeticError, KeyError, RecursionError, SyntaxError, TypeError, ValueError) as error:
        return f"Error: {error}"


def answer(client: OpenAI, model: str, question: str, folder: Path, turns: int, max_tokens: int) -> str | None:
    """The model's answer; None where it still calls tools after so many turns."""
    messages: list[Any] = [{"role": "user", "content": question}]
    for _ in range(turns):
        reply = client.chat.completions.create(
            model=model, messages=messages, tools=TOOLS, max_tokens=max_tokens, temperature=0
        )
        message = reply.choices[0].message
        if not message.tool_calls:
            return message.content
        messages.append(message)
        for call in message.tool_calls:
            result = use(call.function.name, call.function.arguments, folder)
            print(f"{call.function.name} {call.function.arguments}: {result}", file=sys.stderr)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question")
    parser.add_argument("--folder", type=Path, default=Path("."), help="the files that the model may search")
    parser.add_argument("--url", default="http://127.0.0.1:8080/v1", help="the server's address")
    parser.add_argument("--key", default="none", help="a key, if the server wants one")
    parser.add_argument("--model", help="a name; default: the first that the server lists")
    parser.add_argument("--turns", type=int, default=6, help="how often the model is asked at most")
    parser.add_argument("--max-tokens", type=int, default=400, help="the most tokens of each reply")
    arguments = parser.parse_args()

    client = OpenAI(base_url=arguments.url, api_key=arguments.key)
    model = arguments.model or client.models.list().data[0].id
    said = answer(client, model, arguments.question, arguments.folder, arguments.turns, arguments.max_tokens)
    if said is None:
        sys.exit(f"There is no answer after {arguments.turns} turns.")
    print(said)


if __name__ == "__main__":
    main()
