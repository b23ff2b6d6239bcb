"""One training on several processes: `torchrun` starts them, FSDP2 shards the model's parameters over them.

Each process has an equal share of every batch and of every parameter, gradient and moment. For a layer's forward and
backward pass the whole parameters come together, so that a matrix has one scale, that of the whole matrix. Without
`torchrun` there is one process, and every function here does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sterna.errors import ArgumentError

PATIENCE = timedelta(days=1)
"""How long processes wait for each other: while the first one makes the tokens of a large corpus, the others wait."""


def choose_gpu(device: torch.device) -> None:
    """Makes `cuda` mean the GPU of this process's local rank, if `torchrun` started several and `device` is a GPU.

    It must be called before the first tensor on a GPU: without it every process opens a context on the first GPU, which
    takes memory there. Raises RuntimeError where the machine has fewer GPUs than processes.
    """
    if started_processes() > 1 and device.type == "cuda" and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Joins the processes that `torchrun` started for a training on `device`, inside the block."""
    if started_processes() == 1 or dist.is_initialized():
        yield
        return
    # The loss is averaged on the CPU, whose tensors NCCL does not take.
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def started_processes() -> int:
    """How many processes `torchrun` started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def process_count() -> int:
    """How many processes train."""
    return dist.get_world_size() if dist.is_initialized() else 1


def process_rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def wait_for_all() -> None:
    """Returns once every process has called it."""
    if process_count() > 1:
        dist.barrier()


@contextmanager
def first_before_others() -> Iterator[None]:
    """The first process runs the block before the others, which find what it wrote."""
    if process_rank() > 0:
        wait_for_all()
    yield
    if process_rank() == 0:
        wait_for_all()


def shard(model: nn.Module, layers: Iterable[nn.Module]) -> None:
    """Shards the parameters of a model, which is the same on every process: layer by layer, and all else together."""
    if process_count() == 1:
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(next(model.parameters()).device.type, (process_count(),))
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    # Without resharding, the parameters after an evaluation would not be those that the optimizers have.
    fully_shard(model, mesh=mesh, reshard_after_forward=True)
    register_fsdp_forward_method(model, "rows")


def own_share(batch: Tensor) -> Tensor:
    """This process's rows of a batch [rows, ...]. Raises ArgumentError where shares would not be equal: the mean of
    the processes' losses would not be that of the batch."""
    if len(batch) % process_count():
        raise ArgumentError(
            f"{process_count()} processes cannot share {len(batch)} windows equally; make training.batch_size a "
            "multiple of training.accumulation times the processes."
        )
    return batch[process_rank() :: process_count()]


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a scalar over the processes."""
    if process_count() == 1:
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / process_count()


def largest(value: int) -> int:
    """The largest of the processes' values. Every process must call it."""
    if process_count() == 1:
        return value
    gathered = torch.tensor(value)
    dist.all_reduce(gathered, dist.ReduceOp.MAX)
    return int(gathered)


def texts_of_all(text: str) -> list[str]:
    """The ASCII texts of the processes in their order, all equally long. Every process must call it."""
    if process_count() == 1:
        return [text]
    own = torch.tensor(list(text.encode("ascii")), dtype=torch.uint8)
    texts = [torch.empty_like(own) for _ in range(process_count())]
    dist.all_gather(texts, own)
    return [bytes(each.tolist()).decode("ascii") for each in texts]


def is_sharded(tensor: Tensor) -> bool:
    """Whether this process has only its rows of a tensor."""
    return hasattr(tensor, "to_local")


def own_part(tensor: Tensor) -> Tensor:
    """What this process has of a tensor that may be sharded; it shares its memory."""
    local: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return local


def own_rows(tensor: Tensor) -> tuple[int, int]:
    """The first of the rows that this process has of a tensor, and the one behind the last. FSDP2 cuts the first
    dimension as `torch.chunk` does: into parts of ceil(rows / processes), the last ones smaller or empty."""
    rows = len(tensor)
    if not is_sharded(tensor):
        return 0, rows
    first = min(process_rank() * -(-rows // process_count()), rows)
    return first, first + len(own_part(tensor))


def whole(tensor: Tensor) -> Tensor:
    """The whole of a tensor that may be sharded. Every process must call it; its gradient is the mean of theirs."""
    if not hasattr(tensor, "full_tensor"):
        return tensor
    from torch.distributed.tensor import Partial

    full: Tensor = tensor.full_tensor(grad_placements=[Partial("avg")])
    return full


def sharded_as(model: Tensor, tensor: Tensor) -> Tensor:
    """A whole tensor, which every process has, sharded as `model` is, if it has the same shape, and on its device."""
    tensor = tensor.to(model.device)
    if process_count() == 1:
        return tensor
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(model, DTensor) or tensor.shape != model.shape:
        return tensor
    return distribute_tensor(tensor, model.device_mesh, model.placements, src_data_rank=None)
