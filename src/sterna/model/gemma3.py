"""Gemma 3 (arXiv 2503.19786), text alone: norms before and after each half of a layer. BitNet-embedding-270M is one."""

from __future__ import annotations

from sterna.model.plan import Plan, PlanBuilder


def build_plan(b: PlanBuilder) -> Plan:
    """`x += post_attn(Wo·attention(norm1(x)))`, `x += post_ffw(Wdown·(gelu(Wgate·n) * (Wup·n)))`, `n = norm2(x)`.

    Embeddings are scaled, and q and k normed head by head.
    """
    config = b.config
    b.embed("x", "token_embd.weight")
    b.scale("x", "x", config.embedding_scale)
    for layer in range(config.num_layers):
        p = f"blk.{layer}"
        b.norm("n", "x", f"{p}.attn_norm.weight")
        b.linears("n", {"q": f"{p}.attn_q", "k": f"{p}.attn_k", "v": f"{p}.attn_v"})
        b.norm("q", "q", f"{p}.attn_q_norm.weight", heads=config.num_heads)
        b.norm("k", "k", f"{p}.attn_k_norm.weight", heads=config.num_kv_heads)
        b.rope("q", config.num_heads, layer)
        b.rope("k", config.num_kv_heads, layer)
        b.attention("a", layer)
        b.linears("a", {"o": f"{p}.attn_output"})
        b.norm("o", "o", f"{p}.post_attention_norm.weight")
        b.add("x", "x", "o")
        b.norm("n", "x", f"{p}.ffn_norm.weight")
        b.linears("n", {"gate": f"{p}.ffn_gate", "up": f"{p}.ffn_up"})
        b.gated("gate", "gate", "up")
        b.linears("gate", {"o": f"{p}.ffn_down"})
        b.norm("o", "o", f"{p}.post_ffw_norm.weight")
        b.add("x", "x", "o")
    b.norm("hidden", "x", "output_norm.weight")
    return b.plan
