"""W_Q and W_K around an optimizer step: sizes, inner products and what the update did, head by head."""

from __future__ import annotations

import numpy as np
import torch

from .. import _native
from .layers import Layer
from .sums import native, view

PRODUCTS: list[str] = _native.PRODUCTS
"""Names of the numbers of one head: inner products of weights, gradient and update, and the gradient's largest entry."""


def _lengthwise(part: torch.Tensor) -> torch.Tensor:
    """A head's matrix or its transpose (products are the same), whichever lies row by row."""
    return part.transpose(-1, -2) if part.stride(-1) != 1 and part.stride(-2) == 1 else part


class Weights:
    """Copies of W_Q, W_K and their gradients, taken before every recorded step into the same memory."""

    def __init__(self, layers: list[Layer]):
        self.layers = layers
        self.sides = [side for l in layers for side in (l.query, l.key)]
        self.memory: dict[tuple[int, int], torch.Tensor] = {}
        self.taken: list[list[tuple[torch.Tensor, torch.Tensor | None]]] | None = None
        self.unscale = 1.0

    @torch.no_grad()
    def before(self, unscale: float) -> None:
        """The optimizer is about to step; gradients count ``unscale`` times."""
        self.unscale, self.taken = unscale, []
        to, values = [], []

        def copy(key: tuple[int, int], part: torch.Tensor, fresh: bool) -> torch.Tensor:
            if fresh:
                return part
            own = self.memory.get(key)
            if own is None or own.shape != part.shape or own.dtype != part.dtype or own.device != part.device:
                own = self.memory[key] = torch.empty(part.shape, dtype=part.dtype, device=part.device)
            to.append(own)
            values.append(part)
            return own

        for index, side in enumerate(self.sides):
            parts = []
            for at, (part, gradient, fresh) in enumerate(side.parts()):
                weights = copy((index, 2 * at), _lengthwise(part), fresh)
                own = None if gradient is None else copy((index, 2 * at + 1), _lengthwise(gradient), fresh)
                parts.append((weights, own))
            self.taken.append(parts)
        if to:
            torch._foreach_copy_(to, values)

    @property
    def any_gradient(self) -> bool:
        return any(g is not None for parts in self.taken or [] for _, g in parts)

    def forget(self) -> None:
        self.taken = None

    @torch.no_grad()
    def after(self) -> list[np.ndarray]:
        """``[heads, PRODUCTS]`` of every projection, query and key of each layer in turn."""
        now = [[_lengthwise(part) for part, _, _ in side.parts(gradients=False)] for side in self.sides]
        each = [(w, g, n) for parts, side in zip(self.taken or [], now) for (w, g), n in zip(parts, side)]
        if native(*(t for triple in each for t in triple)):
            arrays = [(view(w), None if g is None else view(g), view(n)) for w, g, n in each]
            done = _native.weight_products(arrays, self.unscale)
        else:
            done = list(by_kernels(each, self.unscale))
        out, at = [], 0
        for parts in now:
            mine = done[at : at + len(parts)]
            at += len(parts)
            total = mine[0]
            for more in mine[1:]:
                total = np.concatenate([total[:, :-1] + more[:, :-1], np.fmax(total[:, -1:], more[:, -1:])], -1)
            out.append(total)
        return out


def by_kernels(each: list[tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]], unscale: float) -> list[np.ndarray]:
    """The same by PyTorch's own kernels, for other devices than the CPU and for float64; moved to the CPU at once.

    Products of rows of one head's matrix are float32, their sum over rows is float64: rounding stays below 1e-6 of
    ``|a| |b|`` whatever the width."""
    done = []
    for w, g, n in each:
        g = torch.zeros_like(w) if g is None else g.to(w.dtype) * unscale
        rows = torch.stack([w, g, n - w], -2)
        rows = rows if rows.dtype == torch.float64 else rows.float()
        gram = (rows @ rows.transpose(-1, -2)).sum(1, dtype=torch.float64)
        top = g.abs().amax((1, 2)).double()
        done.append(torch.stack([*(gram[:, i, j] for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))), top], -1))
    sizes = [len(d) for d in done]
    return np.split(torch.cat(done).cpu().numpy(), np.cumsum(sizes)[:-1])


def columns(layers: list[Layer], products: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Columns of ``heads``, ``[layers, heads]``: keys' numbers are those of the shared head, once for every query head."""
    out = {}
    for at, side in enumerate("qk"):
        repeats = [1 if side == "q" else l.heads // l.kv_heads for l in layers]
        all_heads = np.stack([p.repeat(r, 0) for p, r in zip(products[at::2], repeats)])
        get = dict(zip(PRODUCTS, np.moveaxis(all_heads, -1, 0)))
        with np.errstate(divide="ignore", invalid="ignore"):
            pressure = -get["wg"] / np.sqrt(get["w2"] * get["g2"])
        out |= {f"{name[0]}_{side}2": get[name] for name in ("w2", "g2", "d2")}
        out |= {f"{name}_{side}": get[name] for name in ("wg", "wd", "gd")}
        out |= {f"g_{side}max": get["gmax"], f"pressure_{side}": pressure}
    return out
