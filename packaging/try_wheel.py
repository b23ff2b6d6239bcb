"""Tries an installed wheel: every instruction set of this machine gives scalar's bits, and a seed its text."""

from __future__ import annotations

from sterna import LLM, _native

for isa in _native.available_isas():
    assert _native.known_answers_hold(isa), f"the {isa} kernels gave wrong answers"
with LLM() as llm:
    first, second = (llm.generate("The ship", max_tokens=16, seed=3) for _ in range(2))
    assert first == second and first, (first, second)
print("ok:", ", ".join(_native.available_isas()))
