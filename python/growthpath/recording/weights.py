"""W_Q and W_K around an optimizer step: sizes, inner products and what the update did, head by head."""

from __future__ import annotations

import torch

from .layers import Layer, Projection

NAMES = ("w2", "g2", "d2", "wg", "wd", "gd")


@torch.no_grad()
def _products(w: torch.Tensor, g: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    """Inner products of weights, gradient and update, ``[heads, head_dim, d]`` each: six numbers a head, float64.

    Products of rows of one head's matrix are float32, their sum over rows is float64: rounding stays below 1e-6 of
    ``|a| |b|`` whatever the width."""
    rows = torch.stack([w, g, d], -2).float()
    gram = (rows @ rows.transpose(-1, -2)).sum(1, dtype=torch.float64)
    pick = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)]
    return torch.stack([gram[:, i, j] for i, j in pick], -1)


class Step:
    """One optimizer step's view of one projection: taken before it, finished after it."""

    def __init__(self, projection: Projection, unscale: float):
        self.projection = projection
        self.before = projection.values().clone()
        gradient = projection.gradients()
        self.has_gradient = gradient is not None
        self.gradient = torch.zeros_like(self.before) if gradient is None else gradient.to(self.before.dtype) * unscale

    @torch.no_grad()
    def finish(self) -> dict[str, torch.Tensor]:
        """Columns by name, one entry a head of the projection."""
        update = self.projection.values() - self.before
        products = _products(self.before, self.gradient, update)
        out = {name: products[:, i].cpu() for i, name in enumerate(NAMES)}
        out["gmax"] = self.gradient.abs().amax((1, 2)).double().cpu()
        return out


def columns(layers: list[Layer], finished: list[tuple[dict, dict]]) -> dict[str, torch.Tensor]:
    """Columns of ``heads``, ``[layers, heads]``: keys' numbers are those of the shared head, once for every query head."""
    out: dict[str, list[torch.Tensor]] = {}
    for layer, (query, key) in zip(layers, finished):
        groups = layer.heads // layer.kv_heads
        for side, values, repeat in (("q", query, 1), ("k", key, groups)):
            spread = {n: v.repeat_interleave(repeat) for n, v in values.items()}
            named = {
                f"g_{side}2": spread["g2"],
                f"g_{side}max": spread["gmax"],
                f"w_{side}2": spread["w2"],
                f"d_{side}2": spread["d2"],
                f"wg_{side}": spread["wg"],
                f"wd_{side}": spread["wd"],
                f"gd_{side}": spread["gd"],
                f"pressure_{side}": -spread["wg"] / (spread["w2"].sqrt() * spread["g2"].sqrt()),
            }
            for name, value in named.items():
                out.setdefault(name, []).append(value)
    return {name: torch.stack(values) for name, values in out.items()}
