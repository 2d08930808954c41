"""Models of the kinds that the recorder is for."""

from __future__ import annotations

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(2)


class CausalSelfAttention(nn.Module):
    """Attention as nanoGPT writes it: one Linear for query, key and value."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0):
        super().__init__()
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)
        self.n_head, self.dropout = heads, dropout

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.c_attn(x).split(d, dim=2)
        q, k, v = (y.view(b, t, self.n_head, d // self.n_head).transpose(1, 2) for y in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0, is_causal=True)
        return self.c_proj(y.transpose(1, 2).reshape(b, t, d))


class MLP(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.c_fc, self.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float = 0.0):
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(width), CausalSelfAttention(width, heads, dropout)
        self.ln_2, self.mlp = nn.LayerNorm(width), MLP(width)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class NanoGPT(nn.Module):
    """A nanoGPT: its forward gives ``(logits, loss)``, all positions only where targets are given."""

    def __init__(self, vocabulary=64, context=32, width=32, layers=4, heads=4, checkpoint=None, dropout=0.0):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.h = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.ln_f, self.checkpoint = nn.LayerNorm(width), checkpoint
        for name, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * layers) if name.endswith("c_proj.weight") else 0.08)

    def forward(self, idx, targets=None):
        x = self.wte(idx) + self.wpe(torch.arange(idx.shape[1], device=idx.device))
        for block in self.h:
            if self.checkpoint is None or not torch.is_grad_enabled():
                x = block(x)
            else:
                x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=self.checkpoint == "reentrant")
        x = self.ln_f(x)
        if targets is None:
            return x[:, -1:] @ self.wte.weight.T, None
        logits = x @ self.wte.weight.T
        return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def loop(model, optimizer, batches, clip=1.0, accumulate=1, schedule=None, after=None):
    """An ordinary training loop; ``batches`` are ``[B, T + 1]`` token arrays, one an optimizer step."""
    model.train()
    for at, batch in enumerate(batches):
        if schedule is not None:
            for group in optimizer.param_groups:
                group["lr"] = schedule(at)
        batch = torch.as_tensor(batch)
        for part in batch.chunk(accumulate):
            loss = model(part[:, :-1], part[:, 1:])[1]
            (loss / accumulate).backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if after is not None:
            after(at)
