"""One forward pass on fixed tokens through the model's own forward, and what every attention layer read and wrote."""

from __future__ import annotations

import contextlib
import inspect
from dataclasses import dataclass, field
from typing import Callable

import numpy as np
import torch
import torch.nn.functional as F

from .attention import Call
from .intercept import Watch
from .layers import Layer, Structure
from .observe import first_tensor, output_tensor

Forward = Callable[[torch.nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]


def default_forward(model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Logits ``[B, T, V]`` of a language model: of transformers' output, of a plain tensor, or of nanoGPT's
    ``(logits, loss)``, which has all positions only where targets are given."""
    parameters = inspect.signature(model.forward).parameters
    if "targets" in parameters:
        output = model(inputs, targets)
    elif "use_cache" in parameters:
        output = model(inputs, use_cache=False)
    else:
        output = model(inputs)
    logits = getattr(output, "logits", None)
    logits = output_tensor(output) if logits is None else logits
    if logits is None or logits.dim() != 3 or logits.shape[1] != inputs.shape[1]:
        shape = None if logits is None else tuple(logits.shape)
        raise ValueError(
            f"the model's forward gives {shape} where logits [B, T, V] were expected; give forward=lambda model, inputs, targets: logits"
        )
    return logits


@contextlib.contextmanager
def quiet(model: torch.nn.Module):
    """Evaluation mode and no gradients; every module's own mode comes back, and so do the random numbers."""
    modes = [(m, m.training) for m in model.modules()]
    state = torch.random.get_rng_state()
    model.eval()
    try:
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        torch.random.set_rng_state(state)


@dataclass
class Seen:
    """What was captured of one layer."""

    x: torch.Tensor | None = None
    args: tuple = ()
    kwargs: dict = field(default_factory=dict)
    """How the attention module was called."""
    stream: torch.Tensor | None = None
    write: torch.Tensor | None = None
    after: torch.Tensor | None = None
    calls: list[Call] = field(default_factory=list)
    written_out: bool = False


class Capture:
    """Hooks for forwards without gradient. ``uniform``: heads by layer whose attention is replaced by the uniform average
    over the keys that each row sees."""

    def __init__(self, structure: Structure, keep: bool = True):
        self.structure, self.keep = structure, keep
        self.seen = [Seen() for _ in structure.layers]
        self.uniform: dict[int, list[int]] = {}
        self.watches: list[Watch] = []

    @contextlib.contextmanager
    def installed(self):
        handles = []
        try:
            for index, layer in enumerate(self.structure.layers):
                handles += self._hooks(index, layer)
            yield self
        finally:
            for handle in handles:
                handle.remove()

    def _hooks(self, index: int, layer: Layer) -> list:
        seen = self.seen[index]

        def enter(module, args, kwargs):
            if self.keep:
                seen.args, seen.kwargs = args, dict(kwargs)
                seen.x = first_tensor(args, kwargs, "hidden_states", "query", "x")
            watch = Watch(
                lambda call, output: self._call(index, call, output),
                lambda logits, output: self._scores(index, logits, output),
            )
            self.watches.append(watch)
            watch.__enter__()

        def leave(module, args, output):
            self.watches.pop().__exit__(None, None, None)

        handles = [
            layer.attention.register_forward_pre_hook(enter, with_kwargs=True),
            layer.attention.register_forward_hook(leave, always_call=True),
        ]
        if self.keep and layer.block is not None:

            def block_enter(module, args, kwargs):
                seen.stream = first_tensor(args, kwargs, "hidden_states", "x", "src")

            def block_leave(module, args, output):
                seen.after = output_tensor(output)

            def wrote(module, args, output):
                seen.write = output_tensor(output)

            handles += [
                layer.block.register_forward_pre_hook(block_enter, with_kwargs=True),
                layer.block.register_forward_hook(block_leave),
                layer.attention_write.register_forward_hook(wrote),
            ]
        return handles

    def _call(self, index: int, call: Call, output: torch.Tensor) -> torch.Tensor:
        seen = self.seen[index]
        if self.keep:
            seen.calls.append(call)
        heads = self.uniform.get(index)
        if not heads:
            return output
        value = call.expanded(call.value)[:, heads].float()
        allowed = call.allowed(0, value.shape[0])
        if allowed is None:
            even = value.mean(-2, keepdim=True).expand(*value.shape[:-2], call.query.shape[-2], value.shape[-1])
        else:
            weights = allowed.float()
            weights = weights / weights.sum(-1, keepdim=True).clamp_min(1.0)
            if weights.dim() == 4 and weights.shape[1] > 1:
                weights = weights[:, heads]
            even = weights @ value
        output = output.clone()
        output[:, heads] = even.to(output.dtype)
        return output

    def _scores(self, index: int, logits: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        self.seen[index].written_out = True
        heads, count = self.uniform.get(index), self.structure.layers[index].heads
        if not heads:
            return output
        allowed = (logits > 0.5 * torch.finfo(logits.dtype).min).to(output.dtype)
        even = allowed / allowed.sum(-1, keepdim=True).clamp_min(1.0)
        shape = output.shape
        output, even = (v.reshape(-1, count, *shape[-2:]).clone() for v in (output, even))
        output[:, heads] = even[:, heads]
        return output.reshape(shape)


def losses(logits: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
    """Mean cross-entropy of each sequence, float64."""
    flat = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    return flat.view(targets.shape).double().mean(-1).cpu().numpy()


def float32(x: torch.Tensor) -> np.ndarray:
    return x.detach().float().cpu().contiguous().numpy()


def projections(layer: Layer, scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """W_Q, W_K as ``[d, H d_h]`` and their biases, float64: the keys once for every query head, and W_Q times what the
    layer's own scale differs from ``1/sqrt(d_h)`` by."""
    with torch.no_grad():
        out = []
        for side, factor, repeat in (
            (layer.query, scale * layer.head_dim**0.5, 1),
            (layer.key, 1.0, layer.heads // layer.kv_heads),
        ):
            bias = side.bias_parameter() is not None
            w = side.values().double().cpu() * factor
            w = w.repeat_interleave(repeat, 0).reshape(layer.heads * layer.head_dim, -1)
            out.append((w[:, :-1].t().contiguous().numpy(), w[:, -1].contiguous().numpy()) if bias else (w.t().contiguous().numpy(), None))
    (wq, bq), (wk, bk) = out
    return wq, wk, bq, bk
