"""Mode `full`: all weights of a model are trained further, ternary ones by their latent weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from sterna.checkpoint.state import QUANTIZATION
from sterna.finetune.base import check_trainable, decoder_config, fill, has_input_norms, quantization_of
from sterna.finetune.inputs import Inputs
from sterna.finetune.loss import CHUNK
from sterna.finetune.task import Data, FineTuning
from sterna.model.config import ModelConfig
from sterna.ternary.quantization import Quantization
from sterna.train.bitlinear import BitLinear
from sterna.train.checkpoints import Checkpoints
from sterna.train.describe import PYTORCH_BYTES, layer_floats, moments, quantised
from sterna.train.export import Exports, export, refusals
from sterna.train.model import Decoder, Linear


class Full:
    """A `sterna.finetune.modes.mode.Mode`; the modes that train every weight of another model are made of it."""

    linear: Linear = BitLinear
    """What the matrices of layers are."""

    def __init__(self, inputs: Inputs) -> None:
        """Raises UnsupportedError for a base that cannot be trained."""
        check_trainable(inputs.base, inputs.config.training.context)
        self.inputs = inputs

    def config(self) -> ModelConfig:
        """The shape of the model that is trained."""
        return decoder_config(self.inputs.base.config)

    def quantization(self) -> Quantization:
        """How its matrices are quantised."""
        return quantization_of(self.inputs.base)

    def input_norms(self) -> bool:
        """Whether every matrix has an RMSNorm of its own before it."""
        return has_input_norms(self.inputs.base)

    @property
    def origin(self) -> dict[str, object]:
        return {"model": asdict(self.config()), QUANTIZATION: asdict(self.quantization())}

    def decoder(self) -> Decoder:
        """The model with random weights."""
        model = Decoder(self.config(), self.quantization(), self.input_norms(), type(self).linear)
        model.checkpoints_layers = self.inputs.config.training.activation_checkpointing
        return model

    def new_model(self) -> Decoder:
        model = self.decoder()
        fill(model, self.inputs.base, self.quantization())
        return model

    def empty_model(self) -> Decoder:
        return self.decoder()

    def task(self, model: Decoder, data: Data, recorded: Mapping[str, Any] | None = None) -> FineTuning:
        return FineTuning(self.inputs.config, model, data)

    def _counts(self) -> tuple[Decoder, int, int]:
        """The model without its weights, how many it has, and how many those of its matrices are."""
        with torch.device("meta"):
            decoder = self.decoder()
        parameters = sum(parameter.numel() for parameter in decoder.parameters())
        matrices = sum(layer.weight.numel() for layer in decoder.modules() if isinstance(layer, BitLinear))
        return decoder, parameters, matrices

    def memory(self) -> int:
        """PyTorch itself, weights, gradients, moments, the activations of a part of a batch, and logits."""
        training, config = self.inputs.config.training, self.config()
        _, parameters, matrices = self._counts()
        tokens = training.batch_size // training.accumulation * training.context
        layers = layer_floats(config.hidden_size, config.intermediate_size) * config.num_layers
        if training.activation_checkpointing:
            layers = layers // config.num_layers + config.hidden_size * config.num_layers
        floats = 2 * parameters + moments(training, parameters, matrices) + tokens * layers
        return PYTORCH_BYTES + 4 * (floats + self.chunk_floats())

    def chunk_floats(self) -> int:
        """The floats of a chunk's logits, their softmax and their gradient."""
        return 3 * CHUNK * self.config().vocab_size

    def describe(self) -> list[str]:
        decoder, parameters, matrices = self._counts()
        kind = quantised(self.quantization(), decoder, matrices)
        notes = refusals(self.config(), self.quantization())
        packed = any(tensor.encoding.is_ternary for tensor in self.inputs.base.tensors.values())
        return [
            f"model:  {self.config().architecture}, {parameters:,} parameters, {kind}",
            *(["base:   its latent weights are not kept; training begins with its codes"] if packed else []),
            *(f"The run's export will be refused: {sentence}" for sentence in notes),
        ]

    @property
    def following(self) -> None:
        """The export is the end."""

    def export(self, model: Decoder, checkpoints: Checkpoints) -> Exports:
        inputs, wanted = self.inputs, self.inputs.config.export
        name, output = inputs.config.name, inputs.output
        hf = output / "hf" if wanted.hf else None
        return export(checkpoints.last, output / f"{name}.gguf", hf, name, model, wanted.gguf)
