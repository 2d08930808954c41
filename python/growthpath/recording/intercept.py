"""A torch-function mode that sees attention as it is computed, whatever backend computes it."""

from __future__ import annotations

import math
from typing import Any, Callable

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from .attention import Call

SDPA = F.scaled_dot_product_attention
SOFTMAX = {F.softmax, torch.softmax, torch.Tensor.softmax}
MHA = F.multi_head_attention_forward


def _sdpa_call(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, *, scale=None, enable_gqa=False) -> Call:
    width = query.shape[-1]
    return Call(query, key, value, 1.0 / math.sqrt(width) if scale is None else float(scale), bool(is_causal), attn_mask, float(dropout_p))


class Watch(TorchFunctionMode):
    """Active inside one attention module. ``seen(call, output)`` gets every scaled_dot_product_attention and may return
    another output; ``scores(logits, output)`` every softmax over 3 or 4-dimensional scores. Other functions pass."""

    def __init__(self, seen: Callable[[Call, torch.Tensor], torch.Tensor], scores: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]):
        super().__init__()
        self.seen, self.scores = seen, scores

    def __torch_function__(self, func, types, args=(), kwargs=None) -> Any:
        kwargs = kwargs or {}
        if func is SDPA:
            return self.seen(_sdpa_call(*args, **kwargs), SDPA(*args, **kwargs))
        if func in SOFTMAX:
            return self.softmax(func, args, kwargs)
        if func is MHA:
            return self.multi_head(args, kwargs)
        return func(*args, **kwargs)

    def softmax(self, func, args, kwargs):
        out = func(*args, **kwargs)
        dim = args[1] if len(args) > 1 else kwargs.get("dim")
        x = args[0] if args else kwargs.get("input")
        if isinstance(x, torch.Tensor) and x.dim() in (3, 4) and dim in (-1, x.dim() - 1):
            return self.scores(x, out)
        return out

    def multi_head(self, args, kwargs):
        """nn.MultiheadAttention's own function calls the others by their names in torch.nn.functional."""

        def sdpa(*a, **k):
            return self.seen(_sdpa_call(*a, **k), SDPA(*a, **k))

        own = (F.scaled_dot_product_attention, F.softmax)
        F.scaled_dot_product_attention = sdpa
        F.softmax = lambda *a, **k: self.softmax(own[1], a, k)
        try:
            return MHA(*args, **kwargs)
        finally:
            F.scaled_dot_product_attention, F.softmax = own
