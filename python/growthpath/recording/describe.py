"""What `run.json` says of a recorded run."""

from __future__ import annotations

from typing import Any, Mapping

import torch

from .. import _native
from .state import State


def info(recorder: State, label: str, config: Mapping[str, Any], tokens: torch.Tensor | None, seed: int | None) -> dict[str, Any]:
    """`run.json` at the start."""
    first = recorder.layers[0]
    parameter = next(recorder.model.parameters())
    own = {
        "recorder": "growthpath (Python)",
        "model": {
            "class": type(recorder.model).__name__,
            "family": recorder.structure.family,
            "layers": len(recorder.layers),
            "heads": first.heads,
            "kv_heads": first.kv_heads,
            "head_dim": first.head_dim,
            "qk_norm": first.qk_norm == "head",
        },
        "optimizer": type(recorder.optimizer).__name__,
        "telemetry_every": recorder.every,
        "sample": recorder.sample,
        "spectra_every": 0,
        "precision": "bf16" if parameter.dtype in (torch.bfloat16, torch.float16) else "f32",
        "probe": recorder.schedule.describe(tokens),
    }
    own.update(config)
    recorder.config = own
    about = {
        "label": label,
        "config": own,
        "steps_planned": recorder.schedule.steps or 0,
        "layers": len(recorder.layers),
        "heads": first.heads,
        "telemetry_every": recorder.every if all(l.block is not None for l in recorder.layers) else None,
        "device": str(parameter.device),
        "versions": {"growthpath": _native.__version__, "torch": torch.__version__},
        "data_blake3": {} if tokens is None else {"probe tokens": _native.blake3(tokens.numpy().tobytes())},
        "extra": {"parameters": sum(p.numel() for p in recorder.model.parameters())},
    }
    if seed is not None:
        about["seeds"] = {"model": seed}
    return about


def coverage(recorder: State) -> dict[str, Any]:
    """What was seen and what was not."""
    recorded = recorder.counts["steps recorded"]
    return {
        "family": recorder.structure.family,
        "steps": recorder.step,
        "steps_recorded": recorded,
        "layers": len(recorder.layers),
        "attention_seen": recorder.counts["layers seen"] / max(1, recorded * len(recorder.layers)),
        "writes_recorded": recorder.counts["writes recorded"],
        "sequences_looked_at": "all" if recorder.sample is None else recorder.sample,
        "skipped_by_gradient_scaler": recorder.counts["skipped by the gradient scaler"],
        "probes": "none" if recorder.prober is None else recorder.prober.status,
        "shares": "none" if recorder.prober is None else recorder.prober.shares,
        "problems": dict(recorder.problems),
    }


def ending(recorder: State) -> dict[str, Any]:
    """What `run.json` learns at the end."""
    learnt: dict[str, Any] = {"extra": {"coverage": coverage(recorder)}}
    if not recorder.schedule.steps:
        learnt["steps_planned"] = recorder.step
    if recorder.rounded:
        # Autocast: what is stored in 16 bits rounds by 2^-9, and the checks must allow for it.
        learnt["config"] = recorder.config | {"precision": "bf16"}
    if recorder.counts["writes recorded"] < recorder.counts["steps recorded"]:
        learnt["telemetry_every"] = None
    return learnt
