"""Mode `distill`: a full-precision model becomes ternary, and learns from a teacher on the way (BitDistill, arXiv
2510.13998, stage 3)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from sterna.checkpoint import Checkpoint
from sterna.errors import ArgumentError, FormatError
from sterna.finetune.base import check_trainable, fill, has_input_norms, new_decoder, open_base, quantization_of
from sterna.finetune.config import DistillSection, FineTuneConfig
from sterna.finetune.data.batches import Part
from sterna.finetune.distillation import logits_divergence, relation_divergence
from sterna.finetune.inputs import Inputs
from sterna.finetune.loss import in_chunks
from sterna.finetune.modes.convert import Convert, Converting
from sterna.finetune.task import Data, FineTuning
from sterna.finetune.warmup import set_share
from sterna.train.distributed import mean_over_processes, process_count
from sterna.train.model import Decoder

MATRICES = ("attn_q", "attn_k", "attn_v")
"""The matrices whose outputs have the relations that are compared."""
RELATIONS = "relations"
"""The name of the weight that a state records."""
Outputs = dict[str, Tensor]
"""What `MATRICES` gave, [1, n, channels], by name."""


class Distilling(Converting):
    """answers + logits · τ² KL of the logits + relations · KL of the relations of q, k and v in one layer."""

    def __init__(
        self,
        config: FineTuneConfig,
        model: Decoder,
        teacher: Decoder,
        data: Data,
        recorded: Mapping[str, Any] | None = None,
    ) -> None:
        """Raises FormatError for a state that records no weight of relations, where the config gives none."""
        super().__init__(config, model, data)
        self._section, self._student, self._teacher = config.distill, model, teacher
        given = self._section.relations
        if given is None and recorded is not None:
            given = recorded.get(RELATIONS)
            if type(given) is not float or not 0 <= given < math.inf:
                raise FormatError(
                    "The state does not say how much relations of attention count; set distill.relations, or give the "
                    "run another output folder."
                )
        self._relations_weight = self._balance() if given is None else given

    def recorded(self) -> Mapping[str, float]:
        return {RELATIONS: self._relations_weight}

    @property
    def notes(self) -> list[str]:
        return [f"Relations of attention count {self._relations_weight:.4g} times in the loss."]

    def _balance(self) -> float:
        """The weight that makes the relations' term as large as that of answers, for the first batch of the untrained
        student with λ = 1."""
        sums = torch.zeros(2)
        with torch.no_grad():
            for part in list(self.parts(0)):
                set_share(self.model, 1.0)
                terms = self._terms_of(part, with_relations=True)
                sums += torch.stack([terms["answers"], terms["relations"]]).cpu()
        answers, relations = (mean_over_processes(value).item() for value in sums)
        return answers / relations if relations > 0 else 0.0

    def loss(self, part: Part) -> Tensor:
        weights = {"logits": self._section.logits, "relations": self._relations_weight}
        terms = self._terms_of(part, with_relations=self._relations_weight > 0)
        return self._with_terms(terms, weights)

    def _terms_of(self, part: Part, with_relations: bool) -> dict[str, Tensor]:
        section, student, teacher = self._section, self._student, self._teacher
        with _outputs_of(teacher, section.layer) as wanted, torch.no_grad():
            teachers_rows = self.rows_of(teacher, part)
        with _outputs_of(student, section.layer) as own:
            rows = self.rows_of(student, part)
        terms = {"answers": self.answers(part, rows)}
        share = process_count() / part.tokens_in_batch
        if section.logits:

            def of_chunk(chunk: Tensor, teachers: Tensor) -> Tensor:
                return logits_divergence(self.logits_of(student, chunk), self.logits_of(teacher, teachers), section.tau)

            divergence = in_chunks(of_chunk, rows[0], teachers_rows[0])
            terms["logits"] = divergence * section.tau**2 * share
        if with_relations:
            # Its first author's code divides by the number of layers, which is one, and of heads.
            total = torch.zeros((), device=rows.device)
            for name in MATRICES:
                pairs = (values[name][0].split(list(part.lengths)) for values in (own, wanted))
                for mine, theirs in zip(*pairs, strict=True):
                    total = total + relation_divergence(mine, theirs, section.split_heads)
            terms["relations"] = total * share / section.split_heads**2
        return terms


@contextmanager
def _outputs_of(model: Decoder, layer: int) -> Iterator[Outputs]:
    """What `MATRICES` of a layer give inside the block."""
    found: Outputs = {}
    block = model.blk[layer]

    def keeps(name: str) -> Any:
        return lambda module, inputs, output: found.__setitem__(name, output)

    hooks = [getattr(block, name).register_forward_hook(keeps(name)) for name in MATRICES]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


class Distill(Convert):
    """A `sterna.finetune.modes.mode.Mode`."""

    def __init__(self, inputs: Inputs) -> None:
        """Raises what opening the teacher does, ArgumentError for one of another vocabulary or a layer or a number of
        heads that the models do not have."""
        super().__init__(inputs)
        section: DistillSection = inputs.config.distill
        own = section.teacher is None
        self.teacher: Checkpoint = inputs.base if own else open_base(inputs.folder, str(section.teacher))
        check_trainable(self.teacher, inputs.config.training.context)
        for config in (self.config(), self.teacher.config):
            if config.vocab_size != self.config().vocab_size:
                raise ArgumentError("distill.teacher has another vocabulary than the base.")
            if not -config.num_layers <= section.layer < config.num_layers:
                raise ArgumentError(f"distill.layer = {section.layer} is no layer of a model with {config.num_layers}.")
            widths = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
            if section.relations != 0 and any(width % section.split_heads for width in widths):
                raise ArgumentError(
                    f"distill.split_heads = {section.split_heads} does not divide q and k of {widths[0]} and "
                    f"{widths[1]} channels."
                )

    def task(self, model: Decoder, data: Data, recorded: Mapping[str, Any] | None = None) -> FineTuning:
        quantization = quantization_of(self.teacher)
        teacher = new_decoder(self.teacher.config, quantization, has_input_norms(self.teacher))
        fill(teacher, self.teacher, quantization)
        teacher.requires_grad_(False).to(next(model.parameters()).device)
        return Distilling(self.inputs.config, model, teacher, data, recorded)

    def memory(self) -> int:
        """As without a teacher, its weights, and both models' logits of a chunk."""
        config = self.teacher.config
        with torch.device("meta"):
            teacher = new_decoder(config, quantization_of(self.teacher), has_input_norms(self.teacher))
        parameters = sum(parameter.numel() for parameter in teacher.parameters())
        return super().memory() + 4 * (parameters + 3 * self.chunk_floats())
