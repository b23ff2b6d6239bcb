"""The picture of `sterna chat` in docs/chat.md: `python -m tests.chat.screenshot MODEL docs/images/chat.svg`."""

from __future__ import annotations

import io
import sys
import tempfile
from itertools import groupby
from pathlib import Path

from pyte.screens import Char
from rich.color import ANSI_COLOR_NAMES
from rich.console import Console
from rich.style import Style
from rich.text import Text

from .terminal import Terminal

PICTURE = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: {char_height}px; line-height: {line_height}px; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""
"""rich's own has a font of another site."""
MESSAGES = ("What is the capital of France?", "/reset", "Show a Python loop that prints the numbers from 1 to 3.")


def main(model: str, picture: str) -> None:
    """Holds a conversation and writes what the terminal shows then."""
    with tempfile.TemporaryDirectory() as home:
        with Terminal("chat", model, "--temp", "0", "-n", "60", home=Path(home)) as terminal:
            terminal.wait_for("^>>>")
            for number, message in enumerate(MESSAGES):
                terminal.type(f"{message}\r")
                terminal.wait_for("^>>>", number + 2)
            terminal.type("/s")
            terminal.wait_for("show or replace the system prompt")
            rows = terminal.cells
    console = Console(record=True, width=80, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for row in rows:
        runs = groupby(row, key=_style)
        console.print(
            Text.assemble(*(("".join(char.data for char in run), style) for style, run in runs)), soft_wrap=True
        )
    console.save_svg(picture, title="sterna chat", code_format=PICTURE, unique_id="chat")


def _style(char: Char) -> Style:
    colours = [_colour(name) for name in (char.fg, char.bg)]
    if char.reverse:
        colours.reverse()
    return Style(color=colours[0], bgcolor=colours[1], bold=char.bold, italic=char.italics, underline=char.underscore)


def _colour(name: str) -> str:
    """What rich calls a colour of pyte: `brightbrown`, or six hexadecimal digits."""
    name = name.replace("brown", "yellow").replace("bright", "bright_")
    return name if name == "default" or name in ANSI_COLOR_NAMES else f"#{name}"


if __name__ == "__main__":
    main(*sys.argv[1:])
