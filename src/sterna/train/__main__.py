"""`python -m sterna.train CONFIG.toml`, for a machine without the rest of Sterna's dependencies."""

import sys
from pathlib import Path

from sterna.train.trainer import run_training

run_training(Path(sys.argv[1]))
