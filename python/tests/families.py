"""Small models of every family that a resolver knows, from their configurations alone; no weights are fetched."""

from __future__ import annotations

import torch


def _common(**other):
    return dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
                max_position_embeddings=64, bos_token_id=0, eos_token_id=1, pad_token_id=2) | other  # fmt: skip


def build(name: str) -> torch.nn.Module:
    """A transformers model by the name of its family."""
    import transformers as t

    gqa = dict(num_key_value_heads=2)
    make = {
        "gpt2": lambda: t.GPT2Config(vocab_size=64, n_embd=32, n_layer=3, n_head=4, n_positions=64, attn_pdrop=0, resid_pdrop=0, embd_pdrop=0),
        "llama": lambda: t.LlamaConfig(**_common(**gqa)),
        "mistral": lambda: t.MistralConfig(**_common(**gqa), sliding_window=None),
        "qwen2": lambda: t.Qwen2Config(**_common(**gqa)),
        "qwen3": lambda: t.Qwen3Config(**_common(**gqa), head_dim=8),
        "gemma": lambda: t.GemmaConfig(**_common(**gqa), head_dim=16),
        "gemma2": lambda: t.Gemma2Config(**_common(**gqa), head_dim=16, query_pre_attn_scalar=24),
        "olmo2": lambda: t.Olmo2Config(**_common(**gqa)),
        "smollm": lambda: t.LlamaConfig(**_common(num_attention_heads=3, num_key_value_heads=1, hidden_size=36), tie_word_embeddings=True),
        "gpt_neox": lambda: t.GPTNeoXConfig(**_common(), rotary_pct=0.25, hidden_dropout=0.0, attention_dropout=0.0),
        "phi3": lambda: t.Phi3Config(**_common(**gqa), resid_pdrop=0.0),
    }  # fmt: skip
    torch.manual_seed(1)
    config = make[name]()
    model = t.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() == 2:
                p.mul_(3.0)  # attention that is not uniform
    return model


FAMILIES = ("gpt2", "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "olmo2", "smollm", "gpt_neox", "phi3")
NOT_BILINEAR = {"qwen3": "normalised", "olmo2": "normalised", "gemma2": "capped"}


def loop(model, optimizer, batches, clip=1.0):
    """transformers' models compute their own loss."""
    model.train()
    for batch in batches:
        ids = torch.as_tensor(batch)
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad()
