"""What `run.json` and the rows are made of: the part of a recorder's state that those who write them read."""

from __future__ import annotations

from collections import Counter
from typing import Any, Protocol, Sequence

import torch

from .layers import Layer, Structure
from .probes import Prober
from .schedule import Schedule


class State(Protocol):
    """A recorder, to those who describe it and make its rows."""

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    structure: Structure
    layers: Sequence[Layer]
    schedule: Schedule
    prober: Prober | None
    writer: Any
    config: dict[str, Any]
    counts: Counter[str]
    problems: Counter[str]
    rates: Sequence[float]
    every: int
    sample: int | None
    step: int
    trained: int
    rounded: bool
    norm: float | None
    clip: float

    def problem(self, what: str, where: str | None = None) -> None:
        """Note what was not seen, once."""
