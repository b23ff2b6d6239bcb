/** BitNet b1.58 (arXiv 2402.17764, and 2504.12285 for the 2B-4T model): a norm before each output projection. */

import type { Architecture } from "../architecture.ts";
import type { PlanBuilder } from "../builder.ts";

/** Identifies the 2B-4T model: some converters write it as `bitnet` without saying that its activation is relu². */
const VOCABULARY_OF_2B4T = 128256;

function plan(b: PlanBuilder): void {
  const { config } = b;
  b.embed("x", "token_embd.weight");
  for (let layer = 0; layer < config.num_layers; layer++) {
    const p = `blk.${layer}`;
    b.norm("n", "x", `${p}.attn_norm.weight`);
    b.linears("n", { q: `${p}.attn_q`, k: `${p}.attn_k`, v: `${p}.attn_v` });
    b.rope("q", config.num_heads, layer);
    b.rope("k", config.num_kv_heads, layer);
    b.attention("a", "q", "k", "v", layer);
    b.norm("a", "a", `${p}.attn_sub_norm.weight`);
    b.linears("a", { o: `${p}.attn_output` });
    b.add("x", "x", "o");
    b.norm("n", "x", `${p}.ffn_norm.weight`);
    b.linears("n", { gate: `${p}.ffn_gate`, up: `${p}.ffn_up` });
    b.gated("gate", "gate", "up");
    b.norm("gate", "gate", `${p}.ffn_sub_norm.weight`);
    b.linears("gate", { o: `${p}.ffn_down` });
    b.add("x", "x", "o");
  }
  b.norm("hidden", "x", "output_norm.weight");
}

const norms = ["attn_norm", "ffn_norm", "attn_sub_norm", "ffn_sub_norm"];

export const BITNET_B158: Architecture = {
  name: "bitnet-b1.58",
  gguf: {
    "bitnet-b1.58": { activation: "relu2", tied_head: true },
    "bitnet-25": { activation: "relu2", tied_head: true },
  },
  plan,
  norms,
};

export const BITNET: Architecture = {
  name: "bitnet",
  gguf: { bitnet: { activation: "silu", tied_head: true } },
  plan,
  norms,
  read: (keys, config) =>
    config.vocab_size === VOCABULARY_OF_2B4T && keys.get("hidden_activation") === undefined
      ? { activation: "relu2" }
      : {},
};
