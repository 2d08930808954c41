"""What the recorder needs to know of a model: one :class:`Layer` for every attention layer, and how its heads turn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable

import torch
from torch import nn

Take = Callable[[torch.Tensor], torch.Tensor]


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """The whole of a sharded tensor (FSDP2's DTensor; all ranks must ask together); any other as it is."""
    whole = getattr(tensor, "full_tensor", None)
    return tensor if whole is None else whole()


@dataclass
class Projection:
    """W_Q or W_K of one layer: where the parameter lives, and which of its rows are which head's.

    The parameter is looked up every time: sharding and offloading replace it. ``take`` cuts heads out of an
    output-major matrix ``[rows, d]`` (or a bias ``[rows, 1]``) and returns ``[heads, head_dim, d]``.
    """

    module: nn.Module
    heads: int
    head_dim: int
    take: Take
    weight: str = "weight"
    bias: str | None = "bias"
    transposed: bool = False

    def parameter(self) -> torch.Tensor:
        return getattr(self.module, self.weight)

    def bias_parameter(self) -> torch.Tensor | None:
        return None if self.bias is None else getattr(self.module, self.bias, None)

    def values(self) -> torch.Tensor:
        """``[heads, head_dim, d]``, biases as a last column where there are any."""
        parts = [part for part, _, _ in self.parts(gradients=False)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def parts(self, gradients: bool = True) -> list[tuple[torch.Tensor, torch.Tensor | None, bool]]:
        """Weight and bias cut into heads, ``[heads, head_dim, d]`` and ``[heads, head_dim, 1]``: each with its gradient where
        there is one, and whether they are copies made by gathering shards (views of the parameter otherwise)."""
        out = []
        for parameter in (self.parameter(), self.bias_parameter()):
            if parameter is None:
                continue
            grad = parameter.grad if gradients else None
            cut = lambda p: self.cut(plain(p.detach()))
            out.append((cut(parameter), None if grad is None else cut(grad), hasattr(parameter, "full_tensor")))
        return out

    def cut(self, whole: torch.Tensor) -> torch.Tensor:
        """A whole weight or bias cut into heads, a view of it."""
        if whole.dim() == 1:
            return self.take(whole.reshape(-1, 1))
        return self.take(whole.t() if self.transposed else whole)


@dataclass
class Layer:
    """One attention layer of a model."""

    name: str
    """Path of the attention module."""
    attention: nn.Module
    query: Projection
    key: Projection
    block: nn.Module | None = None
    """Whose input and output are the residual stream before and after the layer; none: no writes."""
    attention_write: nn.Module | None = None
    """Whose output is added to the stream; the attention module itself by default."""
    down: nn.Module | None = None
    """The FFN's last projection: its input is the hidden activation."""
    norm: nn.Module | None = None
    """The norm between stream and attention; none: attention reads the stream as it is."""
    norm_offset: float = 0.0
    """Added to the norm's stored gain (Gemma: 1)."""
    qk_norm: str | None = None
    """Norm of queries and keys: ``head``, ``whole`` (all heads together), or none."""
    query_norm: nn.Module | None = None
    key_norm: nn.Module | None = None
    """The modules that normalise them, where these have parameters to tell apart."""
    softcap: bool = False

    @property
    def heads(self) -> int:
        return self.query.heads

    @property
    def kv_heads(self) -> int:
        return self.key.heads

    @property
    def head_dim(self) -> int:
        return self.query.head_dim


@dataclass
class Rotary:
    """Rotary positions: coordinates ``i`` and ``i + dims/2`` of a head turn by ``position * base^(-2i/dims)``."""

    base: float
    dims: int


@dataclass
class Structure:
    """What a resolver found."""

    family: str
    layers: list[Layer]
    rotary: Rotary | None = None
    rotary_problem: str | None = None
    """Why the rotary positions are not of the one form that predictions know; none where they are."""
    notes: list[str] = field(default_factory=list)

    @property
    def heads(self) -> int:
        return self.layers[0].heads

    @property
    def head_dim(self) -> int:
        return self.layers[0].head_dim
