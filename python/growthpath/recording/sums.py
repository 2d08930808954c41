"""Statistics as sums and maxima, so that micro-batches add and ranks reduce them: means are taken at the very end."""

from __future__ import annotations

import torch


class Sums:
    """Named float64 totals of equal shape ``[layers, heads]`` (or vectors by layer), each a sum or a maximum.

    ``nan`` marks what a layer did not see.
    """

    def __init__(self) -> None:
        self.totals: dict[str, torch.Tensor] = {}
        self.maxima: dict[str, torch.Tensor] = {}

    def add(self, name: str, value: torch.Tensor) -> None:
        """Add to a sum."""
        value = value.detach().double()
        self.totals[name] = self.totals[name] + value if name in self.totals else value

    def top(self, name: str, value: torch.Tensor) -> None:
        """Raise a maximum."""
        value = value.detach().double()
        self.maxima[name] = torch.maximum(self.maxima[name], value) if name in self.maxima else value

    def merge(self, other: "Sums") -> None:
        for name, value in other.totals.items():
            self.add(name, value)
        for name, value in other.maxima.items():
            self.top(name, value)

    def __bool__(self) -> bool:
        return bool(self.totals or self.maxima)
