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
