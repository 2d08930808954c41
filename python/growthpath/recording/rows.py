"""Rows of one step, from what was measured to the writer's columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from . import streams

if TYPE_CHECKING:
    from .recorder import Recorder


def step_row(recorder: "Recorder", loss: float, seconds: float) -> None:
    """The row of `steps`."""
    top = max(recorder.rates)
    one = lambda v, t=np.float32: np.array([v], t)
    recorder.writer.append(
        "steps",
        {
            "step": one(recorder.step, np.uint32),
            "tokens": one(recorder.trained, np.uint64),
            "loss": one(loss),
            "lr": one(top),
            "qk_mult": one(min(recorder.rates) / top if top > 0 else 1.0),
            "grad_norm": one(recorder.norm),
            "clip_scale": one(recorder.clip),
            "step_ms": one(1e3 * seconds),
        },
    )


def head_rows(recorder: "Recorder", columns: dict[str, torch.Tensor]) -> None:
    """Rows of `heads`; columns ``[layers, heads]``."""
    count, heads = len(recorder.layers), recorder.structure.heads
    n = count * heads
    flat = lambda v: np.ascontiguousarray(v.expand(count, heads).reshape(-1).numpy().astype(np.float32))
    rows = {name: flat(value) for name, value in columns.items()}
    rows["lr"] = np.repeat(np.array(recorder.rates, np.float32), heads)
    rows["step"] = np.full(n, recorder.step, np.uint32)
    rows["layer"] = np.repeat(np.arange(count, dtype=np.uint16), heads)
    rows["head"] = np.tile(np.arange(heads, dtype=np.uint16), count)
    recorder.writer.append("heads", rows)


def write_rows(recorder: "Recorder", blocks: list) -> None:
    """Rows of `writes`, from the totals of every block."""
    if any(b is None for b in blocks):
        recorder.problem("residual writes not seen: no block around attention is known, or its forward was not seen")
        return
    rows = [r for b in blocks for r in streams.rows(b.totals)]
    columns = {name: np.array([r[name] for r in rows], np.float32) for name in rows[0]}
    n = len(rows)
    columns["step"] = np.full(n, recorder.step, np.uint32)
    columns["layer"] = np.repeat(np.arange(n // 2, dtype=np.uint16), 2)
    columns["site"] = np.tile(np.arange(2, dtype=np.uint8), n // 2)
    recorder.writer.append("writes", columns)
    recorder.counts["writes recorded"] += 1
