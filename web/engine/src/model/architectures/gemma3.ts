/** Gemma 3 (arXiv 2503.19786), text only: norms before and after each half of a layer. */

import type { Architecture } from "../architecture.ts";
import type { PlanBuilder } from "../builder.ts";

/** Five of six layers are local. */
const PERIOD = 6;
const LOCAL_THETA = 10000;
/** Identifies the one Gemma 3 that scales its queries by a size other than the head's, which GGUF files do not say. */
const LAYERS_OF_27B = 62;

function plan(b: PlanBuilder): void {
  const { config } = b;
  b.embed("x", "token_embd.weight");
  b.scale("x", "x", config.embedding_scale);
  for (let layer = 0; layer < config.num_layers; layer++) {
    const p = `blk.${layer}`;
    b.norm("n", "x", `${p}.attn_norm.weight`);
    b.linears("n", { q: `${p}.attn_q`, k: `${p}.attn_k`, v: `${p}.attn_v` });
    b.norm("q", "q", `${p}.attn_q_norm.weight`, { heads: config.num_heads });
    b.norm("k", "k", `${p}.attn_k_norm.weight`, { heads: config.num_kv_heads });
    b.rope("q", config.num_heads, layer);
    b.rope("k", config.num_kv_heads, layer);
    b.attention("a", "q", "k", "v", layer);
    b.linears("a", { o: `${p}.attn_output` });
    b.norm("o", "o", `${p}.post_attention_norm.weight`);
    b.add("x", "x", "o");
    b.norm("n", "x", `${p}.ffn_norm.weight`);
    b.linears("n", { gate: `${p}.ffn_gate`, up: `${p}.ffn_up` });
    b.gated("gate", "gate", "up");
    b.linears("gate", { o: `${p}.ffn_down` });
    b.norm("o", "o", `${p}.post_ffw_norm.weight`);
    b.add("x", "x", "o");
  }
  b.norm("hidden", "x", "output_norm.weight");
}

export const GEMMA3: Architecture = {
  name: "gemma3",
  gguf: { gemma3: { activation: "gelu" } },
  plan,
  norms: ["attn_norm", "ffn_norm", "attn_q_norm", "attn_k_norm", "post_attention_norm", "post_ffw_norm"],
  /** Without a window all layers are global. */
  read(keys, { hidden_size, num_heads, num_layers, sliding_window }) {
    const period = keys.integer("attention.sliding_window_pattern", PERIOD);
    const isLocal = sliding_window !== null;
    const layers = Array.from({ length: num_layers }, (_, index) => index);
    return {
      embedding_scale: hidden_size ** 0.5,
      query_scale: num_layers === LAYERS_OF_27B ? (hidden_size / Math.max(num_heads, 1)) ** -0.5 : null,
      sliding_layers: isLocal ? layers.filter((index) => period > 0 && (index + 1) % period > 0) : [],
      local_rope_theta: isLocal ? keys.number("rope.freq_base_swa", LOCAL_THETA) : null,
    };
  },
};
