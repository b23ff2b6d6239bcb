"""The order of the value heads of gated delta nets (`DeltaNet.is_tiled`): GGUF files and folders differ in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sterna.checkpoint import Checkpoint
from sterna.model.delta_net import DeltaNet
from sterna.tensor.recode import permute_blocks, permute_rows
from sterna.tensor.tensor import AnyTensor


def in_order(source: Checkpoint, tiled: bool) -> Checkpoint:
    """The model with its value heads in the order of GGUF files (`tiled`), or of folders."""
    net = source.config.delta_net
    if net is None or net.is_tiled == tiled:
        return source
    tensors = {name: _in_order(name, tensor, net) for name, tensor in source.tensors.items()}
    return replace(source, config=replace(source.config, delta_net=replace(net, is_tiled=tiled)), tensors=tensors)


def _in_order(name: str, tensor: AnyTensor, net: DeltaNet) -> AnyTensor:
    shared = net.value_heads // net.key_heads
    shape = (shared, net.key_heads) if net.is_tiled else (net.key_heads, shared)
    heads = np.arange(net.value_heads).reshape(shape).T.reshape(-1)
    rows = (heads[:, None] * net.value_dim + np.arange(net.value_dim)).reshape(-1)
    match name.split(".", 2)[-1]:
        case "ssm_alpha.weight" | "ssm_beta.weight" | "ssm_a" | "ssm_dt.bias":
            return permute_rows(tensor, heads)
        case "attn_gate.weight":
            return permute_rows(tensor, rows)
        case "attn_qkv.weight" | "ssm_conv1d.weight":
            return permute_rows(tensor, np.concatenate([np.arange(2 * net.keys), 2 * net.keys + rows]))
        case "ssm_out.weight":
            return permute_blocks(tensor, heads)
    return tensor
