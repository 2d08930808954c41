"""Residual writes of one block: what attention and the FFN add to the stream."""

from __future__ import annotations

import numpy as np
import torch

from .. import _native
from .sums import Sums, native, view

SCALARS: list[str] = _native.BLOCK_SCALARS
"""Names of the packed totals."""


def tokens(x: torch.Tensor, sequences: int | None, batch_first: bool = True) -> torch.Tensor:
    """``[N, d]`` in float32, of the first so many sequences."""
    if sequences is not None and x.dim() == 3 and batch_first:
        x = x[:sequences]
    return x.detach().reshape(-1, x.shape[-1]).float()


@torch.no_grad()
def block_sums(before: torch.Tensor, write: torch.Tensor, after: torch.Tensor, hidden: torch.Tensor | None) -> Sums:
    """Totals over tokens ``[N, d]`` of both writes: attention's as captured, the FFN's as what the block adds beside it,
    so that stream and writes add up whatever lies between. ``block`` holds :data:`SCALARS`."""
    if native(before, write, after, hidden):
        scalars, sums = _native.block_sums(view(before), view(write), view(after), None if hidden is None else view(hidden))
        scalars, sums = torch.from_numpy(scalars), [torch.from_numpy(s) for s in sums]
    else:
        scalars, sums = by_kernels(before, write, after, hidden)
    out = Sums()
    out.add("block", scalars)
    for name, value in zip(("sum0", "sum1", "hidden_sum"), sums):
        out.add(name, value)
    return out


def by_kernels(
    before: torch.Tensor, write: torch.Tensor, after: torch.Tensor, hidden: torch.Tensor | None
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The same by PyTorch's own kernels, for other devices than the CPU."""
    total = lambda x: x.sum(dtype=torch.float64)
    count = lambda x: torch.tensor(float(x), dtype=torch.float64, device=before.device)
    middle = before + write
    scalars, sums = {}, []
    for site, (h, w, out) in enumerate(((before, write, middle), (middle, after - middle, after))):
        scalars[f"energy{site}"], scalars[f"dot{site}"] = total(w.square()), total(w * h)
        scalars[f"before{site}"], scalars[f"after{site}"] = total(h.square()), total(out.square())
        sums.append(w.sum(0, dtype=torch.float64))
    scalars["tokens"] = count(before.shape[0])
    scalars["hidden"] = count(0) if hidden is None else total(hidden.square())
    scalars["hidden_tokens"] = count(0 if hidden is None else hidden.shape[0])
    sums.append(sums[0].new_zeros(0) if hidden is None else hidden.sum(0, dtype=torch.float64))
    return torch.stack([scalars[name] for name in SCALARS]), sums


def rows(totals: np.ndarray, sums: list[np.ndarray]) -> list[dict[str, float]]:
    """Columns of ``writes`` of one layer: attention, then FFN."""
    get = dict(zip(SCALARS, totals))
    n, out = get["tokens"], []
    for site in (0, 1):
        out.append(
            {
                "energy": get[f"energy{site}"] / n,
                "common": np.square(sums[site] / n).sum(),
                "dot": get[f"dot{site}"] / n,
                "h2_before": get[f"before{site}"] / n,
                "h2_after": get[f"after{site}"] / n,
                "hidden_ms": np.nan,
                "hidden_common": np.nan,
            }
        )
    count, width = get["hidden_tokens"], len(sums[2])
    if count > 0:
        out[1]["hidden_ms"] = get["hidden"] / (count * width)
        out[1]["hidden_common"] = np.square(sums[2] / count).sum() / width
    return out
