"""Statistics as sums and maxima, so that micro-batches add and ranks reduce them: means are taken at the very end."""

from __future__ import annotations

import numpy as np
import torch

NATIVE = (torch.float32, torch.bfloat16, torch.float16)


class Sums:
    """Named float64 totals, each a sum or a maximum; NaN marks what was not seen."""

    def __init__(self) -> None:
        self.totals: dict[str, torch.Tensor] = {}
        self.maxima: dict[str, torch.Tensor] = {}

    def add(self, name: str, value: torch.Tensor) -> None:
        """Add to a sum."""
        self.totals[name] = self.totals[name] + value if name in self.totals else value

    def top(self, name: str, value: torch.Tensor) -> None:
        """Raise a maximum."""
        self.maxima[name] = torch.maximum(self.maxima[name], value) if name in self.maxima else value

    def merge(self, other: "Sums") -> None:
        for name, value in other.totals.items():
            self.add(name, value)
        for name, value in other.maxima.items():
            self.top(name, value)

    def __bool__(self) -> bool:
        return bool(self.totals or self.maxima)


def native(*tensors: torch.Tensor | None) -> bool:
    """Whether compiled code can read all of them where they lie (16-bit ones as a float32 copy)."""
    return all(t is None or (t.device.type == "cpu" and t.dtype in NATIVE) for t in tensors)


def view(tensor: torch.Tensor) -> np.ndarray:
    """A float32 tensor's memory as an array whose innermost axis is contiguous; a copy where it has to be one."""
    tensor = tensor.detach()
    if tensor.dtype != torch.float32:
        tensor = tensor.float()
    if tensor.stride(-1) != 1 and tensor.shape[-1] > 1:
        tensor = tensor.contiguous()
    return tensor.numpy()
