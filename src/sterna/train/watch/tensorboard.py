"""Records for TensorBoard: scalars, and histograms' worth of numbers by matrix."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from sterna.errors import UnsupportedError
from sterna.train.watch.records import Record

FOLDER = "tensorboard"


class TensorBoard:
    """Writes records to `tensorboard/` in a run's folder; `tensorboard --logdir FOLDER` shows them.

    What an earlier run wrote about steps beyond `step` is not shown. Raises UnsupportedError without the package.
    """

    def __init__(self, folder: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UnsupportedError(
                "watch.tensorboard needs TensorBoard: pip install 'sterna[train]', or leave the key out."
            ) from error
        self._writer = SummaryWriter(str(folder / FOLDER), purge_step=step + 1)

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def __call__(self, record: Record) -> None:
        """Adds the numbers of a record as scalars, and its texts as texts."""
        kind, step = record["kind"], record["step"]
        for name, value in record.items():
            if name in ("kind", "step") or value is None:
                continue
            if kind == "weights" and name == "matrices":
                for matrix, counted in value.items():
                    for what, share in counted.items():
                        self._number(f"{what}/{matrix}", share, step)
            elif isinstance(value, dict):
                for term, number in value.items():
                    self._number(f"{kind}/{term}", number, step)
            elif isinstance(value, str):
                self._writer.add_text(f"{kind}/{name}", value, step)
            else:
                self._number(f"{kind}/{name}", value, step)

    def _number(self, tag: str, value: float | None, step: int) -> None:
        if value is not None:
            self._writer.add_scalar(tag, value, step)
