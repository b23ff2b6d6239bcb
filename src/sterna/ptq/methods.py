"""The methods of `sterna quantize`, one file each."""

from __future__ import annotations

from sterna.ptq.rtn import RTN

ALL = (RTN,)
METHODS = {method.name: method for method in ALL}
"""By the name that `--method` takes."""
