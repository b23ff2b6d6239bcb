"""Grammars: what a text may look like, so that every answer that ends by itself has that form.

`Grammar` says what is wanted, and knows no model. `Grammars` compiles it for the vocabulary of one model, with
llguidance, to a constraint of a generation.
"""

from sterna.engine.grammar.compiler import Grammars
from sterna.engine.grammar.grammar import Grammar
from sterna.errors import GrammarError

__all__ = ["Grammar", "GrammarError", "Grammars"]
