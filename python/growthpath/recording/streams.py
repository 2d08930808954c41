"""Residual writes of one block: what attention and the FFN add to the stream."""

from __future__ import annotations

import torch

from .sums import Sums


def tokens(x: torch.Tensor, sequences: int | None, batch_first: bool = True) -> torch.Tensor:
    """``[N, d]`` in float32, of the first so many sequences."""
    if sequences is not None and x.dim() == 3 and batch_first:
        x = x[:sequences]
    return x.detach().reshape(-1, x.shape[-1]).float()


@torch.no_grad()
def block_sums(before: torch.Tensor, write: torch.Tensor, after: torch.Tensor, hidden: torch.Tensor | None) -> Sums:
    """Totals over tokens ``[N, d]`` of both writes: attention's as captured, the FFN's as what the block adds beside it,
    so that stream and writes add up whatever lies between."""
    sums = Sums()
    middle = before + write
    total = lambda x: x.sum(dtype=torch.float64)
    for site, (h, w, out) in enumerate(((before, write, middle), (middle, after - middle, after))):
        sums.add(f"energy{site}", total(w.square()))
        sums.add(f"sum{site}", w.sum(0, dtype=torch.float64))
        sums.add(f"dot{site}", total(w * h))
        sums.add(f"before{site}", total(h.square()))
        sums.add(f"after{site}", total(out.square()))
    sums.add("tokens", torch.tensor(float(before.shape[0])))
    if hidden is not None:
        sums.add("hidden", total(hidden.square()))
        sums.add("hidden_sum", hidden.sum(0, dtype=torch.float64))
        sums.add("hidden_tokens", torch.tensor(float(hidden.shape[0])))
    return sums


def rows(sums: dict[str, torch.Tensor]) -> list[dict[str, float]]:
    """Columns of ``writes`` of one layer: attention, then FFN."""
    n = float(sums["tokens"])
    out = []
    for site in (0, 1):
        row = {
            "energy": float(sums[f"energy{site}"]) / n,
            "common": float((sums[f"sum{site}"] / n).square().sum()),
            "dot": float(sums[f"dot{site}"]) / n,
            "h2_before": float(sums[f"before{site}"]) / n,
            "h2_after": float(sums[f"after{site}"]) / n,
        }
        if site == 1 and "hidden" in sums:
            count, width = float(sums["hidden_tokens"]), sums["hidden_sum"].numel()
            row["hidden_ms"] = float(sums["hidden"]) / (count * width)
            row["hidden_common"] = float((sums["hidden_sum"] / count).square().sum()) / width
        else:
            row["hidden_ms"] = row["hidden_common"] = float("nan")
        out.append(row)
    return out
