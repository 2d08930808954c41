"""The model of `growthpath bench` in PyTorch on the CPU; prints tokens a second (median over blocks of steps).

usage: bench_pytorch.py WIDTH LAYERS HEADS CONTEXT BATCH VOCAB BLOCKS BLOCK_STEPS plain|hooks THREADS

`hooks` logs, at every step, the per-head statistics that growthpath records: what a user would write by hand.
"""

import math
import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

D, L, H, T, B, V, BLOCKS, STEPS = map(int, sys.argv[1:9])
HOOKS = sys.argv[9] == "hooks"
torch.set_num_threads(int(sys.argv[10]))
torch.manual_seed(1)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(D), nn.LayerNorm(D)
        self.qkv, self.proj = nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.up, self.down = nn.Linear(D, 4 * D), nn.Linear(4 * D, D)
        self.stats = None

    def forward(self, h):
        b, t, _ = h.shape
        q, k, v = self.qkv(self.ln1(h)).split(D, dim=2)
        q, k, v = (x.view(b, t, H, D // H).transpose(1, 2) for x in (q, k, v))
        if HOOKS:
            self.logits(q.detach(), k.detach())
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        w = self.proj(o.transpose(1, 2).reshape(b, t, D))
        if HOOKS:
            self.write("attn", w.detach(), h.detach())
        h = h + w
        w = self.down(F.gelu(self.up(self.ln2(h)), approximate="tanh"))
        if HOOKS:
            self.write("ffn", w.detach(), h.detach())
        return h + w

    @torch.no_grad()
    def logits(self, q, k):
        s = q @ k.transpose(-1, -2) / math.sqrt(D // H)
        keep = torch.ones(T, T, dtype=torch.bool).tril()
        n = torch.arange(1, T + 1, dtype=torch.float32)
        z = s.masked_fill(~keep, 0.0)
        mean = z.sum(-1) / n
        centred = ((z - mean[..., None]) * keep).square().sum((0, 2, 3))
        p = s.masked_fill(~keep, -torch.inf).softmax(-1)
        entropy = torch.special.entr(p).sum(-1)[..., 1:] / n[1:].log()
        self.stats = dict(
            s_max=s.masked_fill(~keep, -torch.inf).amax((0, 2, 3)),
            s_ms=z.square().sum((0, 2, 3)),
            spread=centred,
            entropy=entropy.mean((0, 2)),
            top1=p.amax(-1).mean((0, 2)),
        )

    @torch.no_grad()
    def write(self, site, w, h):
        self.stats[site] = (
            w.square().sum(-1).mean(),
            w.mean((0, 1)).square().sum(),
            (w * h).sum(-1).mean(),
            h.square().sum(-1).mean(),
        )


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(V, D), nn.Embedding(T, D)
        self.blocks = nn.ModuleList(Block() for _ in range(L))
        self.ln = nn.LayerNorm(D)
        for p in self.parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02)

    def forward(self, x, y):
        h = self.wte(x) + self.wpe.weight
        for block in self.blocks:
            h = block(h)
        logits = F.linear(self.ln(h), self.wte.weight)
        return F.cross_entropy(logits.view(-1, V), y.reshape(-1))


model = GPT()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
generator = torch.Generator().manual_seed(7)
trace = []


def head_slices(block):
    """[2, H, d_h * (d + 1)]: each head's slice of W_Q and W_K with its bias, and of their gradients."""
    w = torch.cat([block.qkv.weight, block.qkv.bias[:, None]], 1)[: 2 * D].view(2, H, -1)
    g = torch.cat([block.qkv.weight.grad, block.qkv.bias.grad[:, None]], 1)[: 2 * D].view(2, H, -1)
    return w.detach(), g


def step():
    x = torch.randint(V, (B, T + 1), generator=generator)
    loss = model(x[:, :-1], x[:, 1:])
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    before = [head_slices(b) for b in model.blocks] if HOOKS else None
    if HOOKS:
        before = [(w.clone(), g.clone()) for w, g in before]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    if HOOKS:
        rows = []
        for block, (w, g) in zip(model.blocks, before):
            d = head_slices(block)[0] - w
            sums = [g.square(), w.square(), d.square(), w * g, w * d, g * d]
            rows.append((torch.stack([s.sum(-1) for s in sums]), g.abs().amax(-1), block.stats))
        trace.append(rows)
    return loss.item()


for _ in range(STEPS):
    step()
rates = []
for _ in range(BLOCKS):
    start = time.perf_counter()
    for _ in range(STEPS):
        step()
    rates.append(B * T * STEPS / (time.perf_counter() - start))
print(f"{statistics.median(rates):.1f}")
