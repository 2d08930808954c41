"""Several processes: totals are reduced over them, rank 0 writes."""

from __future__ import annotations

import torch
import torch.distributed as dist

from .sums import Sums


def world() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if world() > 1 else 0


def reduce(sums: Sums, device: torch.device) -> Sums:
    """Totals over all ranks: sums added, maxima raised; every rank must hold the same names. One message for each."""
    if world() == 1:
        return sums
    out = Sums()
    for totals, operation, into in (
        (sums.totals, dist.ReduceOp.SUM, out.totals),
        (sums.maxima, dist.ReduceOp.MAX, out.maxima),
    ):
        names = sorted(totals)
        if not names:
            continue
        flat = torch.cat([totals[n].reshape(-1).to(device) for n in names])
        dist.all_reduce(flat, operation)
        offset = 0
        for name in names:
            size = totals[name].numel()
            into[name] = flat[offset : offset + size].reshape(totals[name].shape).cpu()
            offset += size
    return out
