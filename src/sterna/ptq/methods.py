"""The methods of `sterna quantize`, one file each."""

from __future__ import annotations

from sterna.ptq.aqlm import AQLM
from sterna.ptq.awq import AWQ
from sterna.ptq.gptq import GPTQ
from sterna.ptq.littlebit import LITTLEBIT
from sterna.ptq.paroquant import PAROQUANT
from sterna.ptq.rtn import RTN
from sterna.ptq.sign import SIGN

ALL = (RTN, GPTQ, AWQ, PAROQUANT, AQLM, LITTLEBIT, SIGN)
METHODS = {method.name: method for method in ALL}
"""By the name that `--method` takes."""
REFUSED = {
    "quip": "QuIP# is no method here: 29 vectors of its table have no source with a free licence.",
    "onebit": "OneBit is no method here: the LayerNorm after every matrix asks for hours of distillation of the whole "
    "model.",
}
"""Published methods that are not there, and why."""
USUAL_BITS = 4


def default_bits(method: str) -> float:
    """The bits of a method where none are asked for: 4, or the first width of a method that has no 4."""
    bits: tuple[float, ...] = METHODS[method].bits if method in METHODS else (USUAL_BITS,)
    return USUAL_BITS if USUAL_BITS in bits else bits[0]
