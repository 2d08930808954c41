"""Rows of one step, from what was measured to the writer's columns."""

from __future__ import annotations

import numpy as np

from . import streams
from .state import State


def step_row(recorder: State, loss: float, seconds: float) -> None:
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


def head_rows(recorder: State, columns: dict[str, np.ndarray]) -> None:
    """Rows of `heads`; columns ``[layers, heads]``."""
    count, heads = len(recorder.layers), recorder.structure.heads
    n = count * heads
    rows = {name: value.astype(np.float32).reshape(n) for name, value in columns.items()}
    rows["lr"] = np.repeat(np.array(recorder.rates, np.float32), heads)
    rows["step"] = np.full(n, recorder.step, np.uint32)
    rows["layer"] = np.repeat(np.arange(count, dtype=np.uint16), heads)
    rows["head"] = np.tile(np.arange(heads, dtype=np.uint16), count)
    recorder.writer.append("heads", rows)


def write_rows(recorder: State, totals: dict[str, np.ndarray]) -> None:
    """Rows of `writes`, from the totals of every block."""
    layers = range(len(recorder.layers))
    if any(f"block.{l}" not in totals for l in layers):
        recorder.problem("residual writes not seen: no block around attention is known, or its forward was not seen")
        return
    sums = lambda l: [totals[f"{name}.{l}"] for name in ("sum0", "sum1", "hidden_sum")]
    rows = [r for l in layers for r in streams.rows(totals[f"block.{l}"], sums(l))]
    columns = {name: np.array([r[name] for r in rows], np.float32) for name in rows[0]}
    n = len(rows)
    columns["step"] = np.full(n, recorder.step, np.uint32)
    columns["layer"] = np.repeat(np.arange(n // 2, dtype=np.uint16), 2)
    columns["site"] = np.tile(np.arange(2, dtype=np.uint8), n // 2)
    recorder.writer.append("writes", columns)
    recorder.counts["writes recorded"] += 1
