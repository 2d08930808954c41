"""The GPT of `growthpath bench --device cuda` in PyTorch on a GPU; prints tokens a second (median over blocks of steps).

usage: bench_pytorch_cuda.py WIDTH LAYERS HEADS CONTEXT BATCH VOCAB BLOCKS BLOCK_STEPS bf16|f32 eager|compile

bf16 is autocast around float32 parameters; attention is scaled_dot_product_attention, AdamW is the fused one, gradients
are clipped by their global norm. The loss is not read inside a block, so nothing waits for the device between steps.
"""

import contextlib
import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

D, L, H, T, B, V, BLOCKS, STEPS = map(int, sys.argv[1:9])
HALF, COMPILE = sys.argv[9] == "bf16", sys.argv[10] == "compile"
DEVICE = "cuda"
torch.manual_seed(1)
torch.backends.cuda.matmul.allow_tf32 = False


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(D), nn.LayerNorm(D)
        self.qkv, self.proj = nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.up, self.down = nn.Linear(D, 4 * D), nn.Linear(4 * D, D)

    def forward(self, h):
        b, t, _ = h.shape
        heads = (x.view(b, t, H, D // H).transpose(1, 2) for x in self.qkv(self.ln1(h)).split(D, dim=2))
        o = F.scaled_dot_product_attention(*heads, is_causal=True)
        h = h + self.proj(o.transpose(1, 2).reshape(b, t, D))
        return h + self.down(F.gelu(self.up(self.ln2(h)), approximate="tanh"))


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


model = GPT().to(DEVICE)
run = torch.compile(model) if COMPILE else model
optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
context = torch.autocast(DEVICE, dtype=torch.bfloat16) if HALF else contextlib.nullcontext()


def step():
    x = torch.randint(V, (B, T + 1)).to(DEVICE, non_blocking=True)
    with context:
        loss = run(x[:, :-1], x[:, 1:])
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def block(steps):
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    torch.cuda.synchronize()
    return B * T * steps / (time.perf_counter() - start)


block(max(STEPS, 3))
print(f"{statistics.median(block(STEPS) for _ in range(BLOCKS)):.1f}")
