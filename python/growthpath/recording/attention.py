"""What one call of attention did: statistics of its logits, and of their gradient, by the trace's definitions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from .sums import Sums

SHARP_KEYS = 8
"""Rows with fewer keys do not count towards sharpness."""
ELEMENTS = 1 << 23
"""Logits held at once."""


@dataclass
class Call:
    """One call as computed: ``query [B, H, T, d_h]``, ``key`` and ``value`` ``[B, KV, S, d_h]``, after rotations and norms."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    scale: float
    causal: bool
    mask: torch.Tensor | None
    dropout: float

    @property
    def is_self_causal(self) -> bool:
        """Whether each row sees exactly the keys up to its own, in every sequence."""
        t, s = self.query.shape[-2], self.key.shape[-2]
        if t != s:
            return False
        if self.causal:
            return True
        if self.mask is None:
            return t == 1
        allowed = self.allowed(0, self.query.shape[0])
        return bool((allowed == torch.ones(t, s, dtype=torch.bool, device=allowed.device).tril()).all())

    def allowed(self, first: int, last: int) -> torch.Tensor | None:
        """Pairs that attend, broadcastable to ``[last - first, H, T, S]``; None for all."""
        t, s = self.query.shape[-2], self.key.shape[-2]
        if self.causal:
            return torch.ones(t, s, dtype=torch.bool, device=self.query.device).tril()
        if self.mask is None:
            return None
        mask = self.mask
        if mask.dim() == 4 and mask.shape[0] > 1:
            mask = mask[first:last]
        # An additive mask forbids with -inf or with the smallest number of its type.
        return mask if mask.dtype == torch.bool else mask > 0.5 * torch.finfo(mask.dtype).min

    def added(self, first: int, last: int) -> torch.Tensor | None:
        """What an additive mask adds to the logits beside forbidding (a position bias); None for nothing."""
        if self.mask is None or self.mask.dtype == torch.bool:
            return None
        mask = self.mask[first:last] if self.mask.dim() == 4 and self.mask.shape[0] > 1 else self.mask
        return torch.where(mask > 0.5 * torch.finfo(mask.dtype).min, mask, 0.0).float()

    def expanded(self, tensor: torch.Tensor) -> torch.Tensor:
        """Keys or values repeated for every query head that shares them."""
        groups = self.query.shape[1] // tensor.shape[1]
        return tensor if groups == 1 else tensor.repeat_interleave(groups, 1)

    def logits(self, first: int, last: int) -> torch.Tensor:
        """Post-scale logits ``[last - first, H, T, S]`` in float32."""
        q, k = self.query[first:last].float(), self.expanded(self.key[first:last]).float()
        s = (q @ k.transpose(-1, -2)) * self.scale
        extra = self.added(first, last)
        return s if extra is None else s + extra

    def chunks(self, sequences: int):
        """Ranges of sequences whose logits fit into memory."""
        one = self.query.shape[1] * self.query.shape[-2] * self.key.shape[-2]
        size = max(1, ELEMENTS // one)
        return [(i, min(i + size, sequences)) for i in range(0, sequences, size)]


def per_head(x: torch.Tensor) -> torch.Tensor:
    """Sum of ``[B, H, ...]`` over all but the heads, in float64."""
    return x.sum(tuple(range(2, x.dim())), dtype=torch.float64).sum(0)


def logit_sums(s: torch.Tensor, allowed: torch.Tensor | None, square: bool) -> tuple[Sums, torch.Tensor]:
    """Totals over logits ``[b, H, T, S]``, and the attention weights. ``square``: rows and keys are the same tokens, so
    that a key's distance means something."""
    b, h, t, keys = s.shape
    if allowed is None:
        n = s.new_full((1, 1, t), float(keys))
        masked = s
    else:
        allowed = allowed.expand(b, h, t, keys)
        n = allowed.sum(-1).to(s.dtype)
        masked = s.masked_fill(~allowed, -torch.inf)
    live = (n > 0).expand(b, h, t)
    n = n.expand(b, h, t)
    top, at = masked.max(-1)
    top = torch.where(live, top, 0.0)
    p = torch.exp(masked - top[..., None])
    z = p.sum(-1).clamp_min(1e-38)
    kept = s if allowed is None else s.masked_fill(~allowed, 0.0)
    total = kept.sum(-1)
    mean = total / n.clamp_min(1.0)
    centred = kept - mean[..., None]
    if allowed is not None:
        centred = centred.masked_fill(~allowed, 0.0)
    below = (p * (top[..., None] - kept)).sum(-1) / z
    entropy = torch.log(z) + below
    relative = entropy / torch.log(n.clamp_min(2.0))
    lse = top + torch.log(z)
    bracket = torch.maximum(lse - torch.log(n.clamp_min(1.0)) - top, top - lse)
    sums = Sums()
    count = lambda where: where.sum((0, 2), dtype=torch.float64)
    pick = lambda x, where: torch.where(where, x, 0.0)
    long, sharp = live & (n >= 2), live & (n >= SHARP_KEYS)
    sums.add("pairs", per_head(n * live))
    sums.add("rows", count(live))
    sums.add("squares", per_head(kept.square()))
    sums.add("centred", per_head(centred.square()))
    sums.add("logits", per_head(total))
    sums.add("entropy", per_head(pick(relative, long)))
    sums.add("entropy_rows", count(long))
    sums.add("sharp", per_head(pick(1.0 - relative, sharp)))
    sums.add("sharp_rows", count(sharp))
    sums.add("top1", per_head(pick(1.0 / z, live)))
    if square:
        distance = (torch.arange(t, device=s.device)[None, None, :] - at).abs().to(s.dtype)
        sums.add("distance", per_head(pick(distance, live)))
    low = torch.where(live, s.masked_fill(~allowed, torch.inf).amin(-1) if allowed is not None else s.amin(-1), torch.inf)
    sums.top("s_max", torch.where(live, top, -torch.inf).amax((0, 2)))
    sums.top("s_low", -low.amin((0, 2)))
    sums.top("bracket", torch.where(live, bracket, -torch.inf).amax((0, 2)))
    return sums, p / z[..., None]


def norm_sums(call: Call, sequences: int) -> Sums:
    """Totals of query and key norms, over tokens and over pairs."""
    sums = Sums()
    q = call.query[:sequences].float().square().sum(-1)
    k = call.expanded(call.key[:sequences]).float().square().sum(-1)
    sums.add("q2", per_head(q))
    sums.add("k2", per_head(k))
    heads = torch.ones(q.shape[1], dtype=torch.float64, device=q.device)
    sums.add("q_tokens", heads * (q.shape[0] * q.shape[2]))
    sums.add("k_tokens", heads * (k.shape[0] * k.shape[2]))
    allowed = call.allowed(0, sequences)
    if allowed is None:
        paired_q, paired_k = q * k.shape[-1], k * q.shape[-1]
    else:
        allowed = allowed.expand(q.shape[0], q.shape[1], q.shape[2], k.shape[2])
        paired_q, paired_k = q * allowed.sum(-1), k * allowed.sum(-2)
    sums.add("paired_q", per_head(paired_q))
    sums.add("paired_k", per_head(paired_k))
    return sums


@torch.no_grad()
def call_sums(call: Call, gradient: torch.Tensor | None, sequences: int) -> Sums:
    """Totals of the first ``sequences`` sequences of a call. ``gradient``: of its output ``[B, H, T, d_v]``; with it, and
    all sequences, comes the squared logit gradient."""
    call = Call(
        call.query.detach(), call.key.detach(), call.value.detach(), call.scale, call.causal, call.mask, call.dropout
    )
    sums = norm_sums(call, sequences)
    square = call.query.shape[-2] == call.key.shape[-2]
    squares = gradient is not None and sequences == call.query.shape[0] and call.dropout == 0.0
    for first, last in call.chunks(sequences):
        part, p = logit_sums(call.logits(first, last), call.allowed(first, last), square)
        sums.merge(part)
        if squares:
            v = call.expanded(call.value[first:last]).float()
            dp = gradient[first:last].float() @ v.transpose(-1, -2)
            g = p * (dp - (p * dp).sum(-1, keepdim=True))
            sums.add("gs2", per_head(g.square()))
    return sums


def columns(sums: dict[str, torch.Tensor], maxima: dict[str, torch.Tensor], scale: float) -> dict[str, torch.Tensor]:
    """The logit columns of ``heads`` from totals ``[L, H]``; what was not measured is NaN."""
    nan = torch.tensor(math.nan, dtype=torch.float64)
    get = lambda name: sums.get(name, nan)
    ratio = lambda a, b: torch.where(b > 0, a / b, nan)
    pairs, rows = get("pairs"), get("rows")
    return {
        "s_max": maxima.get("s_max", nan),
        "s_min": -maxima.get("s_low", nan),
        "s_ms": ratio(get("squares"), pairs),
        "spread": ratio(get("centred"), pairs).sqrt(),
        "entropy": ratio(get("entropy"), get("entropy_rows")),
        "sharpness": ratio(get("sharp"), get("sharp_rows")),
        "top1": ratio(get("top1"), rows),
        "max_distance": ratio(get("distance"), rows),
        "q_rms": ratio(get("q2"), get("q_tokens")).sqrt(),
        "k_rms": ratio(get("k2"), get("k_tokens")).sqrt(),
        "qk_cos": (get("logits") / scale / (get("paired_q").sqrt() * get("paired_k").sqrt())).clamp(-1.0, 1.0),
        "lse_gap": maxima.get("bracket", nan),
    }
