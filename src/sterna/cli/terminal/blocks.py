"""Markdown that is still being written, block by block."""

from __future__ import annotations

from functools import cache

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Markdown
from rich.syntax import Syntax

CODE_THEME = "ansi_dark"
"""The terminal's own colours, on its own background."""


class Code(CodeBlock):
    """Code without a margin, so that it can be copied."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text).rstrip()
        yield Syntax(code, self.lexer_name, theme=CODE_THEME, background_color="default", word_wrap=True)


class Answer(Markdown):
    """Markdown as rich lays it out, but for code."""

    elements = {**Markdown.elements, "fence": Code, "code_block": Code}


def render(text: str) -> Markdown:
    """Markdown for rich. Lines stay lines, HTML stays text, and a link shows its address."""
    markdown = Answer("", hyperlinks=False)
    markdown.parsed = _parser().parse(text)
    for token in markdown.parsed:
        for child in token.children or ():
            if child.type == "softbreak":
                child.type = "hardbreak"
    return markdown


class Blocks:
    """Markdown that comes piece by piece. `feed` gives the blocks (paragraphs, lists, code ...) that are complete,
    because another has begun; `rest` is the text after them."""

    def __init__(self) -> None:
        self.rest = ""

    def feed(self, piece: str) -> list[str]:
        """The texts of the blocks that this piece completes. Only whole lines are looked at: half a line may become
        anything."""
        self.rest += piece
        if "\n" not in piece:
            return []
        whole_lines = self.rest[: self.rest.rindex("\n") + 1]
        starts = [token.map[0] for token in _parser().parse(whole_lines) if _begins_block(token) and token.map]
        if len(starts) < 2:
            return []
        lines = self.rest.split("\n")
        blocks = ["\n".join(lines[start:end]) for start, end in zip(starts, starts[1:], strict=False)]
        self.rest = "\n".join(lines[starts[-1] :])
        return blocks


def _begins_block(token: Token) -> bool:
    return token.level == 0 and token.nesting >= 0


@cache
def _parser() -> MarkdownIt:
    # Definitions of links would vanish, together with the addresses in them.
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable("reference")
