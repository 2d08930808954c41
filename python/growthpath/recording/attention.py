"""What one call of attention did: statistics of its logits, and of their gradient, by the trace's definitions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .. import _native
from .sums import Sums, native, view

TOTALS: list[str] = _native.LOGIT_TOTALS
"""Names of the packed totals, one column each."""
MAXIMA: list[str] = _native.LOGIT_MAXIMA

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

    def _with_keys(self, rows: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Products of rows ``[b, H, T, d]`` with the keys or values ``[b, KV, S, d]`` that their heads share, float32."""
        b, h, t, d = rows.shape
        grouped = rows.float().reshape(b, keys.shape[1], h // keys.shape[1] * t, d)
        return (grouped @ keys.float().transpose(-1, -2)).view(b, h, t, keys.shape[2])

    def logits(self, first: int, last: int) -> torch.Tensor:
        """Post-scale logits ``[last - first, H, T, S]`` in float32."""
        s = self._with_keys(self.query[first:last].float() * self.scale, self.key[first:last])
        extra = self.added(first, last)
        return s if extra is None else s + extra

    def weights_gradient(self, gradient: torch.Tensor, first: int, last: int) -> torch.Tensor:
        """Gradient of the attention weights ``[last - first, H, T, S]`` from the output's."""
        return self._with_keys(gradient[first:last], self.value[first:last])

    def chunks(self, sequences: int):
        """Ranges of sequences whose logits fit into memory."""
        one = self.query.shape[1] * self.query.shape[-2] * self.key.shape[-2]
        size = max(1, ELEMENTS // one)
        return [(i, min(i + size, sequences)) for i in range(0, sequences, size)]


def per_head(x: torch.Tensor) -> torch.Tensor:
    """Sum of ``[B, H, ...]`` over all but the heads, in float64."""
    return x.sum(tuple(range(2, x.dim())), dtype=torch.float64).sum(0)


def head_dots(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``<a, b>`` of every head of ``[B, H, T, d]``, float64."""
    if native(a, b):
        return torch.from_numpy(_native.head_dots(view(a), view(b)))
    return per_head(a.detach().float() * b.float())


def logit_sums(
    s: torch.Tensor,
    allowed: torch.Tensor | None,
    causal: bool = False,
    weights_gradient: torch.Tensor | None = None,
    query: torch.Tensor | None = None,
    key: torch.Tensor | None = None,
) -> Sums:
    """Totals over logits ``[b, H, T, S]``: ``logits`` holds :data:`TOTALS` (sums) and :data:`MAXIMA` (maxima) of every
    head, NaN where what they need is not given. ``causal``: row i sees keys up to i, and ``allowed`` is not looked at."""
    if native(s, weights_gradient, query, key):
        mask = None if causal or allowed is None else allowed.expand(s.shape).numpy()
        numpy = lambda x: None if x is None else view(x)
        totals, maxima = _native.logit_sums(view(s), causal, mask, *(numpy(x) for x in (weights_gradient, query, key)))
        totals, maxima = torch.from_numpy(totals), torch.from_numpy(maxima)
    else:
        if causal:
            allowed = torch.ones(s.shape[-2:], dtype=torch.bool, device=s.device).tril()
        sums, maxima = by_kernels(s, allowed, weights_gradient, query, key)
        nan = torch.full((s.shape[1],), torch.nan, dtype=torch.float64, device=s.device)
        totals = torch.stack([sums.get(name, nan) for name in TOTALS], -1)
        maxima = torch.stack([maxima[name] for name in MAXIMA], -1)
    out = Sums()
    out.add("logits", totals)
    out.top("logits", maxima)
    return out


def by_kernels(
    s: torch.Tensor,
    allowed: torch.Tensor | None,
    weights_gradient: torch.Tensor | None = None,
    query: torch.Tensor | None = None,
    key: torch.Tensor | None = None,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The same by PyTorch's own kernels, for other devices than the CPU: totals and maxima by name, ``[H]`` each."""
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
    count = lambda where: where.sum((0, 2), dtype=torch.float64)
    pick = lambda x, where: torch.where(where, x, 0.0)
    long, sharp = live & (n >= 2), live & (n >= SHARP_KEYS)
    totals = {
        "pairs": per_head(n * live),
        "rows": count(live),
        "squares": per_head(kept.square()),
        "centred": per_head(centred.square()),
        "logits": per_head(total),
        "entropy": per_head(pick(relative, long)),
        "entropy_rows": count(long),
        "sharp": per_head(pick(1.0 - relative, sharp)),
        "sharp_rows": count(sharp),
        "top1": per_head(pick(1.0 / z, live)),
    }
    if t == keys:
        # Rows and keys are the same tokens: a key's distance means something.
        distance = (torch.arange(t, device=s.device)[None, None, :] - at).abs().to(s.dtype)
        totals["distance"] = per_head(pick(distance, live))
    low = s.amin(-1) if allowed is None else s.masked_fill(~allowed, torch.inf).amin(-1)
    maxima = {
        "s_max": torch.where(live, top, -torch.inf).amax((0, 2)).double(),
        "s_low": -torch.where(live, low, torch.inf).amin((0, 2)).double(),
        "bracket": torch.where(live, bracket, -torch.inf).amax((0, 2)).double(),
    }
    if weights_gradient is not None:
        p = p / z[..., None]
        g = p * (weights_gradient - (p * weights_gradient).sum(-1, keepdim=True))
        totals["gs2"] = per_head(g.square())
    if query is not None and key is not None:
        totals |= _norms(query, key, allowed)
    return totals, maxima


def _norms(query: torch.Tensor, key: torch.Tensor, allowed: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """Totals of query and key norms, over tokens and over pairs."""
    q = query.float().square().sum(-1)
    k = key.float().square().sum(-1).repeat_interleave(query.shape[1] // key.shape[1], 1)
    ones = torch.ones(q.shape[1], dtype=torch.float64, device=q.device)
    if allowed is None:
        paired_q, paired_k = q * k.shape[-1], k * q.shape[-1]
    else:
        paired_q, paired_k = q * allowed.sum(-1), k * allowed.sum(-2)
    return {
        "q2": per_head(q),
        "k2": per_head(k),
        "q_tokens": ones * (q.shape[0] * q.shape[2]),
        "k_tokens": ones * (k.shape[0] * k.shape[2]),
        "paired_q": per_head(paired_q),
        "paired_k": per_head(paired_k),
    }


@torch.no_grad()
def call_sums(call: Call, gradient: torch.Tensor | None, sequences: int) -> Sums:
    """Totals of the first ``sequences`` sequences of a call. ``gradient``: of its output ``[B, H, T, d_v]``; with it, and
    all sequences, comes the squared logit gradient."""
    squares = gradient is not None and sequences == call.query.shape[0] and call.dropout == 0.0
    out = Sums()
    for first, last in call.chunks(sequences):
        allowed = None if call.causal else call.allowed(first, last)
        weights_gradient = call.weights_gradient(gradient, first, last) if squares else None
        s = call.logits(first, last)
        out.merge(logit_sums(s, allowed, call.causal, weights_gradient, call.query[first:last], call.key[first:last]))
    return out


def columns(totals: np.ndarray, maxima: np.ndarray, scale: np.ndarray) -> dict[str, np.ndarray]:
    """The logit columns of ``heads`` from packed totals and maxima ``[L, H, ...]`` and the scale of each layer ``[L, 1]``; what
    was not measured is NaN."""
    get = dict(zip(TOTALS, np.moveaxis(totals, -1, 0)))
    top = dict(zip(MAXIMA, np.moveaxis(maxima, -1, 0)))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = lambda a, b: np.where(get[b] > 0, get[a] / get[b], np.nan)
        return {
            "s_max": top["s_max"],
            "s_min": -top["s_low"],
            "s_ms": ratio("squares", "pairs"),
            "spread": np.sqrt(ratio("centred", "pairs")),
            "entropy": ratio("entropy", "entropy_rows"),
            "sharpness": ratio("sharp", "sharp_rows"),
            "top1": ratio("top1", "rows"),
            "max_distance": ratio("distance", "rows"),
            "q_rms": np.sqrt(ratio("q2", "q_tokens")),
            "k_rms": np.sqrt(ratio("k2", "k_tokens")),
            "qk_cos": np.clip(get["logits"] / scale / np.sqrt(get["paired_q"] * get["paired_k"]), -1.0, 1.0),
            "lse_gap": top["bracket"],
            "gs2": get["gs2"],
        }
