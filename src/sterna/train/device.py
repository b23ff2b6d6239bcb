"""The device that somebody names for training or quantising."""

from __future__ import annotations

import torch

from sterna.train.distributed import choose_gpu


def usable_device(name: str) -> torch.device:
    """The torch device `name`, of several GPUs this process's. Raises ValueError, with PyTorch's reason, where it
    cannot hold a tensor."""
    try:
        device = torch.device(name)
        choose_gpu(device)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, ImportError) as error:
        # What follows the first sentence are hints for those who develop PyTorch.
        reason = str(error).partition("\n")[0].partition(". ")[0].rstrip(".")
        raise ValueError(f"PyTorch cannot use it here: {reason}") from error
    return device
