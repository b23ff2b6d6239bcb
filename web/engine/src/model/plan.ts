/** A forward pass as data: named slots, and operations on them. The names are those of the JSON that Sterna's Python
 * side writes (`model/plan.py`, `model/operations.py`, which also say what each operation computes). */

import type { Activations } from "../files/encodings.ts";

export interface Embed {
  kind: "embed";
  out: string;
  weight: string;
}

export interface Norm {
  kind: "norm";
  out: string;
  x: string;
  weight: string;
  eps: number;
  heads: number;
}

export interface Linear {
  kind: "linear";
  out: string;
  x: string;
  weight: string;
  bias: string | null;
  activations: Activations;
  group_size: number;
}

export interface Rope {
  kind: "rope";
  out: string;
  x: string;
  heads: number;
  style: RopeStyle;
  frequencies: string;
}

export interface Attention {
  kind: "attention";
  out: string;
  q: string;
  k: string;
  v: string;
  cache: string;
  layer: number;
  heads: number;
  scale: number;
}

export interface Gated {
  kind: "gated";
  out: string;
  gate: string;
  up: string;
  activation: Activation;
}

export interface Add {
  kind: "add";
  out: string;
  x: string;
  y: string;
}

export interface Scale {
  kind: "scale";
  out: string;
  x: string;
  factor: number;
}

export interface Hadamard {
  kind: "hadamard";
  out: string;
  x: string;
  block: number;
  direction: "forward" | "inverse";
  signs: string | null;
}

export type RopeStyle = "half" | "interleaved";
export type Activation = "relu2" | "silu" | "gelu";
export type Operation = Embed | Norm | Linear | Rope | Attention | Gated | Add | Scale | Hadamard;

export interface CacheGroup {
  layers: number;
  kv_heads: number;
  head_dim: number;
  window: number | null;
}

export interface Head {
  weight: string;
  activations: Activations;
  group_size: number;
}

export interface Plan {
  vocab_size: number;
  head: Head;
  output: string;
  slots: Record<string, number>;
  caches: Record<string, CacheGroup>;
  states: Record<string, never>;
  frequencies: Record<string, number[]>;
  signs: Record<string, number[]>;
  operations: Operation[];
  version: 1;
}

/** The slots that an operation reads. */
export function reads(operation: Operation): string[] {
  switch (operation.kind) {
    case "embed":
      return [];
    case "attention":
      return [operation.q, operation.k, operation.v];
    case "gated":
      return [operation.gate, operation.up];
    case "add":
      return [operation.x, operation.y];
    default:
      return [operation.x];
  }
}
