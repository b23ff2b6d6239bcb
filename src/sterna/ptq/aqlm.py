"""AQLM (arXiv 2401.06118) in a reduced form: blocks of eight weights become sums of vectors of learned codebooks, one
codebook a bit.

k-means begins, each codebook on what those before it leave; then rounds alternate between Adam steps on codebooks and
scales, and a search of codes, block by block, both for the least error of the matrix's outputs on the calibration text.
Then the codebooks and scales of a layer learn together what the layer should give. Compared with the published recipe
k-means and steps are fewer, and the search keeps one candidate (a beam of 1).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sterna.checkpoint.hf.quantized.aqlm import AdditiveCodes
from sterna.ptq.gptq import input_hessian
from sterna.ptq.layers import STAGES, Layer
from sterna.ptq.learning import Learning
from sterna.ptq.method import Method
from sterna.ptq.settings import Settings

BLOCK, ENTRIES = 8, 256
KMEANS_ROUNDS = 20
KMEANS_VECTORS = 1 << 16
"""Most vectors that k-means sees."""
ROUNDS, ADAM_STEPS, LEARNING_RATE = 3, 10, 1e-3
LEAST_GAIN = 0.01
"""Rounds end when one lowers the error by less, as a share of it."""
TUNING_RATE = 1e-3
"""Of the learning of a whole layer; the authors take 1e-5 and see far more text."""
DAMPING = 1e-4
"""Share of the mean of the inputs' squares that is added to all of them."""


class Tuned(nn.Module):
    """A matrix whose codebooks and scales learn; its codes stay."""

    codes: Tensor

    def __init__(self, matrix: AdditiveCodes, device: torch.device) -> None:
        super().__init__()
        self.register_buffer("codes", torch.from_numpy(matrix.codes).long().to(device))
        self.codebooks = nn.Parameter(torch.from_numpy(matrix.codebooks).to(device))
        self.scales = torch.from_numpy(matrix.scales).to(device)
        self.factors = nn.Parameter(torch.ones_like(self.scales))

    def forward(self) -> Tensor:
        """What the matrix multiplies its input by, float32 [out, in]."""
        return _decoded(self.codebooks, self.scales * self.factors, self.codes)

    @torch.no_grad()
    def matrix(self) -> AdditiveCodes:
        """The matrix as files keep it."""
        rounded = (part.half().float().cpu().numpy() for part in (self.codebooks, self.scales * self.factors))
        return AdditiveCodes(self.codes.byte().cpu().numpy(), *rounded)


def quantize(layer: Layer, settings: Settings) -> dict[str, AdditiveCodes]:
    """Codes and codebooks of every matrix of the layer, from the inputs that the matrices before it leave; then all
    codebooks and scales learn together, `epochs` times over the calibration text."""
    assert layer.originals is not None
    targets = layer.forward(layer.originals)
    draw = torch.Generator().manual_seed(settings.seed + layer.index)
    tuned = nn.ModuleDict()
    for stage in STAGES:
        gram = input_hessian(layer, stage[0]) / 2
        gram.diagonal().add_(DAMPING * gram.diagonal().mean())
        for name in stage:
            weight = layer.weight(name)
            tuned[name] = Tuned(additive(weight, gram, int(settings.bits), draw), weight.device)
            layer.set_weight(name, tuned[name]())
    rates = {"codebooks": TUNING_RATE, "factors": TUNING_RATE}
    Learning(layer, layer.inputs, targets, tuned).stage(rates, settings.epochs, draw)
    matrices = {}
    for name, module in tuned.items():
        assert isinstance(module, Tuned)
        matrices[name] = module.matrix()
        layer.set_weight(name, matrices[name].values())
    return matrices


@torch.no_grad()
def additive(weight: Tensor, gram: Tensor, books: int, draw: torch.Generator) -> AdditiveCodes:
    """weight [out, in], in a multiple of 8, in `books` codebooks, for inputs with these mean products [in, in]."""
    scales = weight.square().mean(dim=1).sqrt().clamp(min=2**-14)  # normal numbers of float16
    target = (weight / scales[:, None]).unflatten(1, (-1, BLOCK))  # [out, in / 8, 8]
    codebooks, codes, rest = [], [], target
    for _ in range(books):
        book = _kmeans(rest.flatten(0, 1), draw)
        chosen = _nearest(rest.flatten(0, 1), book).view(rest.shape[:2])
        rest = rest - book[chosen]
        codebooks.append(book)
        codes.append(chosen)
    state = torch.stack(codebooks), scales, torch.stack(codes, dim=-1)
    error = _error(weight, gram, *state)
    for _ in range(ROUNDS):
        learned = _learned(weight, gram, *state)
        after = *learned, _searched(weight, gram, *learned, state[2], draw)
        reached = _error(weight, gram, *after)
        if reached >= error:
            break
        gain, state, error = 1 - reached / error, after, reached
        if gain < LEAST_GAIN:
            break
    rounded = state[0].half().float(), state[1].half().float()
    found = _searched(weight, gram, *rounded, state[2], draw)
    return AdditiveCodes(found.byte().cpu().numpy(), *(part.cpu().numpy() for part in rounded))


def _decoded(codebooks: Tensor, scales: Tensor, codes: Tensor) -> Tensor:
    """The matrix [out, in]."""
    blocks = sum(book[codes[..., index]] for index, book in enumerate(codebooks))
    assert isinstance(blocks, Tensor)
    return blocks.flatten(1) * scales[:, None]


def _error(weight: Tensor, gram: Tensor, codebooks: Tensor, scales: Tensor, codes: Tensor) -> float:
    """The squared error of the outputs."""
    difference = weight - _decoded(codebooks, scales, codes)
    return float((difference @ gram * difference).sum())


def _nearest(vectors: Tensor, book: Tensor) -> Tensor:
    """The entry that is nearest to each vector, int64."""
    parts = vectors.split(KMEANS_VECTORS)
    return torch.cat([(book.square().sum(dim=1) - 2 * part @ book.T).argmin(dim=1) for part in parts])


def _kmeans(vectors: Tensor, draw: torch.Generator) -> Tensor:
    """A codebook [256, 8] by k-means. An entry that no vector chooses stays where it is."""
    order = torch.randperm(len(vectors), generator=draw).to(vectors.device)
    vectors = vectors[order[:KMEANS_VECTORS]]
    book = vectors[torch.arange(ENTRIES, device=vectors.device) % len(vectors)].clone()
    for _ in range(KMEANS_ROUNDS):
        chosen = _nearest(vectors, book)
        counts = torch.bincount(chosen, minlength=ENTRIES)[:, None]
        sums = torch.zeros_like(book).index_add_(0, chosen, vectors)
        book = torch.where(counts > 0, sums / counts.clamp(min=1), book)
    return book


@torch.enable_grad()
def _learned(weight: Tensor, gram: Tensor, codebooks: Tensor, scales: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Codebooks and scales after some steps of Adam, for these codes."""
    books, factors = codebooks.clone().requires_grad_(), torch.ones_like(scales).requires_grad_()
    optimizer = torch.optim.Adam([books, factors], lr=LEARNING_RATE, betas=(0.0, 0.95), amsgrad=True)
    whole = (weight @ gram * weight).sum()
    for _ in range(ADAM_STEPS):
        difference = weight - _decoded(books, scales * factors, codes)
        loss = (difference @ gram * difference).sum() / whole
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return books.detach(), (scales * factors).detach()


def _searched(
    weight: Tensor, gram: Tensor, codebooks: Tensor, scales: Tensor, codes: Tensor, draw: torch.Generator
) -> Tensor:
    """Codes [out, in / 8, C] of which each is the best one for its block of columns, the others being as they were
    when its turn came."""
    codes, rows = codes.clone(), scales[:, None]
    pull = (weight - _decoded(codebooks, scales, codes)) @ gram  # [out, in]: half the error's slope, negative
    for block in torch.randperm(codes.shape[1], generator=draw).tolist():
        columns = slice(block * BLOCK, (block + 1) * BLOCK)
        within = gram[columns, columns]
        for book in torch.randperm(len(codebooks), generator=draw).tolist():
            entries = codebooks[book]
            before = rows * entries[codes[:, block, book]]
            costs = (entries @ within * entries).sum(dim=1)
            best = (costs - 2 * ((pull[:, columns] + before @ within) / rows) @ entries.T).argmin(dim=1)
            codes[:, block, book] = best
            pull -= (rows * entries[best] - before) @ gram[columns]
    return codes


AQLM = Method("aqlm", (1, 2, 3, 4), quantize, ("aqlm",), in_groups=False, originals=True)
