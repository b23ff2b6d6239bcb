/** Llama, Mistral and what shares their layer. */

import type { Architecture } from "../architecture.ts";
import type { PlanBuilder } from "../builder.ts";

/** The layer of Llama; with `headNorms`, q and k are normed head by head, as in Qwen3. */
export function plan(b: PlanBuilder, headNorms = false): void {
  const { config } = b;
  b.embed("x", "token_embd.weight");
  for (let layer = 0; layer < config.num_layers; layer++) {
    const p = `blk.${layer}`;
    b.norm("n", "x", `${p}.attn_norm.weight`);
    b.linears("n", { q: `${p}.attn_q`, k: `${p}.attn_k`, v: `${p}.attn_v` });
    if (headNorms) {
      b.norm("q", "q", `${p}.attn_q_norm.weight`, { heads: config.num_heads });
      b.norm("k", "k", `${p}.attn_k_norm.weight`, { heads: config.num_kv_heads });
    }
    b.rope("q", config.num_heads, layer);
    b.rope("k", config.num_kv_heads, layer);
    b.attention("a", "q", "k", "v", layer);
    b.linears("a", { o: `${p}.attn_output` });
    b.add("x", "x", "o");
    b.norm("n", "x", `${p}.ffn_norm.weight`);
    b.linears("n", { gate: `${p}.ffn_gate`, up: `${p}.ffn_up` });
    b.gated("gate", "gate", "up");
    b.linears("gate", { o: `${p}.ffn_down` });
    b.add("x", "x", "o");
  }
  b.norm("hidden", "x", "output_norm.weight");
}

export const LLAMA: Architecture = {
  name: "llama",
  gguf: { llama: { activation: "silu", rope_style: "interleaved" } },
  plan,
  norms: ["attn_norm", "ffn_norm"],
};
