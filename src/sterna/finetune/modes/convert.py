"""Mode `convert`: a full-precision model becomes ternary, by warm-up quantisation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from sterna.errors import ArgumentError, UnsupportedError
from sterna.finetune.base import decoder_config, fill, has_input_norms, quantization_of
from sterna.finetune.config import FineTuneConfig
from sterna.finetune.data.batches import Part, part_of
from sterna.finetune.inputs import Inputs
from sterna.finetune.matrices import check_names, matrices_of
from sterna.finetune.modes.full import Full
from sterna.finetune.norms import calibrate, inserted
from sterna.finetune.task import Data, FineTuning
from sterna.finetune.warmup import WarmUpLinear, quantised_share, rescale_to_least_squares, set_share
from sterna.model.config import ModelConfig
from sterna.ternary.quantization import Quantization
from sterna.train.bitlinear import BitLinear
from sterna.train.model import Decoder

CALIBRATION_ROWS = 8
"""Rows of the first epoch from which the gains of inserted norms are set."""


class Converting(FineTuning):
    """Answers, with λ as large as the step says; what is measured and exported has λ = 1."""

    def __init__(self, config: FineTuneConfig, model: Decoder, data: Data) -> None:
        super().__init__(config, model, data)
        self._share = 1.0

    def parts(self, step: int) -> Iterator[Part]:
        convert, steps = self._config.convert, self._config.training.steps
        warmup = max(steps // 2, 1) if convert.lambda_steps is None else convert.lambda_steps
        self._share = quantised_share(convert.schedule, step, warmup, convert.lambda_k)
        set_share(self.model, self._share)
        return super().parts(step)

    def terms(self) -> Mapping[str, float]:
        return {**super().terms(), "lambda": self._share}

    def evaluate(self) -> dict[str, float]:
        set_share(self.model, 1.0)
        return super().evaluate()

    def samples(self) -> Iterator[dict[str, str]]:
        set_share(self.model, 1.0)
        return super().samples()


class Convert(Full):
    """A `sterna.finetune.modes.mode.Mode`."""

    linear = WarmUpLinear

    def __init__(self, inputs: Inputs) -> None:
        """Raises UnsupportedError for a base that is not of full precision, or that cannot have the norms asked for;
        ArgumentError for groups that do not fill its rows, and for names of matrices that it does not have."""
        super().__init__(inputs)
        self.section, config = inputs.config.convert, inputs.base.config
        check_names(config, "convert.keep", self.section.keep, "convert.layers", self.section.layers)
        if len(self._kept) == sum(matrix.layer is not None for matrix in matrices_of(config)):
            raise ArgumentError("convert.keep and convert.layers leave no matrix that is converted.")
        if self._kept and self.section.norms == "all":
            raise ArgumentError('convert.norms = "all" is for models whose matrices are all converted.')
        if quantization_of(inputs.base).weights != "float":
            raise UnsupportedError(f'{inputs.base.path} is ternary already; train it further with mode = "full".')
        if self.section.norms == "sub":
            if config.architecture != "llama" or config.num_heads * config.head_dim != config.hidden_size:
                raise UnsupportedError(
                    'convert.norms = "sub" makes a bitnet of a llama whose heads are as wide as its hidden size; '
                    f'{inputs.base.path} is {config.architecture}: take "all" or "none".'
                )
        if self.section.norms == "all" and has_input_norms(inputs.base):
            raise UnsupportedError(f'{inputs.base.path} has norms before its matrices already: take "none".')
        widths = config.hidden_size, config.intermediate_size, config.num_heads * config.head_dim
        if any(width % (self.section.group_size or 1) for width in widths):
            raise ArgumentError(
                f"Groups of {self.section.group_size} do not fill rows of {', '.join(map(str, widths))}."
            )

    def config(self) -> ModelConfig:
        config = decoder_config(self.inputs.base.config)
        if self.section.norms == "sub":
            return replace(config, architecture="bitnet")
        return replace(config, input_norm_eps=config.rms_norm_eps) if self.section.norms == "all" else config

    @property
    def _kept(self) -> tuple[str, ...]:
        """The names of the matrices of layers that stay in full precision."""
        keep, layers = self.section.keep, self.section.layers
        return tuple(
            matrix.name
            for matrix in matrices_of(self.inputs.base.config)
            if matrix.layer is not None and (any(map(matrix.is_called, keep)) or layers and matrix.layer not in layers)
        )

    def quantization(self) -> Quantization:
        return replace(self.section.quantization(), kept=self._kept)

    def input_norms(self) -> bool:
        return self.section.norms == "all" or super().input_norms()

    def new_model(self) -> Decoder:
        model = self.decoder()
        fill(model, self.inputs.base, self.quantization())
        if ends := inserted(self.section.norms):
            rows = self.inputs.data.batches.epoch(0)[:CALIBRATION_ROWS]
            parts = (part_of(row, 1) for row in rows)
            set_share(model, 0.0)
            calibrate(model, ends, ((part.tokens, part.lengths) for part in parts))
            set_share(model, 1.0)
        if self.section.init == "least-squares":
            for layer in model.modules():
                if isinstance(layer, BitLinear):
                    rescale_to_least_squares(layer)
        return model

    def task(self, model: Decoder, data: Data, recorded: Mapping[str, Any] | None = None) -> FineTuning:
        return Converting(self.inputs.config, model, data)
