"""The GPT of `growthpath bench --device cuda` in PyTorch on a GPU; prints tokens a second (median over blocks of steps).

usage: bench_pytorch_cuda.py WIDTH LAYERS HEADS CONTEXT BATCH VOCAB BLOCKS BLOCK_STEPS bf16|f32 MODE [DEVICE]

MODE is eager or compile, or eager+hooks or compile+hooks: those log, at every step, the per-head statistics that growthpath
records, as a user would write them by hand: hooks take the queries and keys and build each sequence's T x T logits; the
copy to the host is one a step and nothing waits for it inside a block. DEVICE is cuda, or cpu to try the script.

bf16 is autocast around float32 parameters; attention is scaled_dot_product_attention, AdamW is the fused one, gradients
are clipped by their global norm. The loss is not read inside a block, so nothing waits for the device between steps.
"""

import contextlib
import math
import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

D, L, H, T, B, V, BLOCKS, STEPS = map(int, sys.argv[1:9])
HALF, MODE = sys.argv[9] == "bf16", sys.argv[10]
if MODE not in ("eager", "compile", "eager+hooks", "compile+hooks"):
    sys.exit(f"bench_pytorch_cuda.py: the mode is eager or compile, with or without +hooks, not `{MODE}`")
COMPILE, HOOKS = MODE.startswith("compile"), MODE.endswith("+hooks")
DEVICE = sys.argv[11] if len(sys.argv) > 11 else "cuda"
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


class Hooks:
    """Per-head statistics of every step: of logits, of writes, of the query and key slices and their gradients."""

    def __init__(self, blocks):
        self.blocks = list(blocks)
        self.keep = torch.ones(T, T, dtype=torch.bool, device=DEVICE).tril()
        self.count = torch.arange(1, T + 1, dtype=torch.float32, device=DEVICE)
        self.rows, self.streams = [], {}
        for block in self.blocks:
            block.register_forward_pre_hook(lambda m, args: self.streams.__setitem__(m, args[0].detach()))
            block.qkv.register_forward_hook(lambda m, args, out: self.rows.append(self.logits(out.detach())))
            for site in (block.proj, block.down):
                site.register_forward_hook(lambda m, args, out, b=block: self.rows.append(self.write(b, out.detach())))

    @torch.no_grad()
    def logits(self, qkv):
        total, peak = torch.zeros(4, H, device=DEVICE), torch.full((H,), -math.inf, device=DEVICE)
        for one in qkv:  # a sequence at a time: all of a batch's logits would not fit beside the activations
            q, k, _ = (x.view(T, H, D // H).transpose(0, 1) for x in one.split(D, dim=1))
            s = (q @ k.transpose(-1, -2)).float() / math.sqrt(D // H)
            z = s.masked_fill(~self.keep, 0.0)
            centred = (z - (z.sum(-1) / self.count)[..., None]) * self.keep
            masked = s.masked_fill(~self.keep, -math.inf)
            p = masked.softmax(-1)
            entropy = torch.special.entr(p).sum(-1)[:, 1:] / self.count[1:].log()
            sums = (z.square().sum((1, 2)), centred.square().sum((1, 2)), entropy.sum(1), p.amax(-1).sum(1))
            total += torch.stack(sums)
            peak = torch.maximum(peak, masked.amax((1, 2)))
        return torch.cat([total.flatten(), peak])

    @torch.no_grad()
    def write(self, block, w):
        w, h = w.float(), self.streams[block].float()
        common = w.mean((0, 1)).square().sum()
        return torch.stack([w.square().sum(-1).mean(), common, (w * h).sum(-1).mean(), h.square().sum(-1).mean()])

    def slices(self, block):
        """[2, H, d_h * (d + 1)]: each head's slice of W_Q and W_K with its bias, and of their gradients."""
        cut = lambda w, b: torch.cat([w, b[:, None]], 1)[: 2 * D].view(2, H, -1)
        qkv = block.qkv
        return cut(qkv.weight.detach(), qkv.bias.detach()), cut(qkv.weight.grad, qkv.bias.grad)

    def before_update(self):
        self.before = [self.slices(b) for b in self.blocks]

    @torch.no_grad()
    def after_update(self):
        for block, (w, g) in zip(self.blocks, self.before):
            d = self.slices(block)[0] - w
            sums = torch.stack([x.sum(-1) for x in (g.square(), w.square(), d.square(), w * g, w * d, g * d)])
            self.rows.append(torch.cat([sums.flatten(), g.abs().amax(-1).flatten()]))
        row = torch.cat(self.rows).to("cpu", non_blocking=True)
        self.rows, self.streams = [], {}
        return row


model = GPT().to(DEVICE)
hooks = Hooks(model.blocks) if HOOKS else None
trace = []
run = torch.compile(model) if COMPILE else model
optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
context = torch.autocast(DEVICE, dtype=torch.bfloat16) if HALF else contextlib.nullcontext()


def step():
    x = torch.randint(V, (B, T + 1)).to(DEVICE, non_blocking=True)
    with context:
        loss = run(x[:, :-1], x[:, 1:])
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if hooks:
        hooks.before_update()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    if hooks:
        trace.append(hooks.after_update())


def wait():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def block(steps):
    wait()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    wait()
    return B * T * steps / (time.perf_counter() - start)


block(max(STEPS, 3))
print(f"{statistics.median(block(STEPS) for _ in range(BLOCKS)):.1f}")
