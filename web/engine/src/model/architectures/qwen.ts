/** Qwen2 (arXiv 2407.10671): Llama's layer with biases on q, k and v. Qwen3 (arXiv 2505.09388): with a norm on every
 * head of q and k instead. */

import type { Architecture } from "../architecture.ts";
import { plan } from "./llama.ts";

export const QWEN2: Architecture = {
  name: "qwen2",
  gguf: { qwen2: { activation: "silu" } },
  plan,
  norms: ["attn_norm", "ffn_norm"],
  biases: ["attn_q", "attn_k", "attn_v"],
};

export const QWEN3: Architecture = {
  name: "qwen3",
  gguf: { qwen3: { activation: "silu" } },
  plan: (b) => plan(b, true),
  norms: ["attn_norm", "ffn_norm", "attn_q_norm", "attn_k_norm"],
};
