"""Measure, predict and explain how attention grows during language-model pretraining.

Read a run::

    import growthpath
    run = growthpath.open("runs/gpt")
    run.heads                  # a pyarrow table: gradients, updates and logits of every (step, layer, head)
    run.analyze()              # why attention grew
    run.plot("growth-shares")  # shows itself in a notebook

Record your own PyTorch loop (needs torch)::

    rec = growthpath.record(model, optimizer, "runs/mine", probe_tokens=tokens)
    ...                        # the loop as it was
    rec.close()

Probe checkpoints that you have (needs transformers)::

    growthpath.series(["ckpt/step-0", "ckpt/step-1000"], text="held-out.txt", out="runs/series")
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._native import SCHEMA_VERSION, __version__
from .reading import Picture, Run, compare, figures, open, tables

if TYPE_CHECKING:
    import torch

    from .recording import Recorder

__all__ = [
    "SCHEMA_VERSION",
    "Picture",
    "Run",
    "__version__",
    "compare",
    "figures",
    "open",
    "record",
    "series",
    "tables",
]


def record(model: "torch.nn.Module", optimizer: "torch.optim.Optimizer", path: "str | Path", **options: Any) -> "Recorder":
    """Record a training loop into the new directory ``path``; returns a recorder to close when training ends.

    Pass the model that the loop calls (compiled or wrapped in DistributedDataParallel, if it is) and the optimizer. Options:

    - ``probe_tokens``: whole numbers ``[sequences, length + 1]``, never trained on: growth is split and predicted on them
    - ``steps``: optimizer steps that training will take; sets the probe times and maturity's lag
    - ``every``: record `heads` and `writes` every so many steps (1); other steps run untouched, compiled if the model is
    - ``sample``: look at the logits and writes of so many sequences of each micro-batch only (all); 0: no logits
    - ``probe_every``, ``reliance_every``: in steps
    - ``label``, ``config``, ``seed``: for run.json
    - ``mapping``: layers of a model that no resolver knows, see :func:`growthpath.recording.resolve.mapped`
    - ``forward``: ``(model, inputs, targets) -> logits`` for models whose forward gives something else
    """
    from .recording import Recorder

    return Recorder(model, optimizer, path, **options)


def series(checkpoints: Any, text: Any, out: Any, **options: Any) -> "Run":
    """Probe checkpoints that transformers loads, in order of their steps, on the same tokens; see
    :func:`growthpath.checkpoints.series`."""
    from .checkpoints import series

    return series(checkpoints, text, out, **options)
