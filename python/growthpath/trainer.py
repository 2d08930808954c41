"""A callback for transformers' Trainer: the three lines are one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from .recording import Recorder, RecorderError


class RecorderCallback(TrainerCallback):
    """``Trainer(..., callbacks=[RecorderCallback("runs/mine", probe_tokens=tokens)])``; options as of
    :func:`growthpath.record`. The number of steps is the Trainer's own."""

    def __init__(self, path: str | Path, **options: Any):
        self.path, self.options = path, options
        self.recorder: Recorder | None = None

    def on_train_begin(self, args, state, control, model=None, optimizer=None, **kwargs):
        if model is None or optimizer is None:
            raise RecorderError("the Trainer hands over no model or no optimizer: record with growthpath.record in your own loop")
        options = {"steps": state.max_steps, "seed": args.seed, **self.options}
        self.recorder = Recorder(model, optimizer, self.path, **options)

    def on_train_end(self, args, state, control, **kwargs):
        if self.recorder is not None:
            self.recorder.close()
