"""Hooks on one model's attention layers and blocks for one step: what they saw is committed when their backward runs."""

from __future__ import annotations

from typing import Any

import torch

from . import attention, streams
from .attention import Call
from .intercept import Watch
from .layers import Layer
from .sums import Sums


def first_tensor(args: tuple, kwargs: dict, *names: str) -> torch.Tensor | None:
    """A module's main input: its first positional tensor, or the keyword of one of the names."""
    for value in args:
        if isinstance(value, torch.Tensor):
            return value
    for name in names:
        if isinstance(kwargs.get(name), torch.Tensor):
            return kwargs[name]
    return next((v for v in kwargs.values() if isinstance(v, torch.Tensor) and v.is_floating_point()), None)


def output_tensor(output: Any) -> torch.Tensor | None:
    """A module's main output: it, or the first tensor of a tuple."""
    if isinstance(output, torch.Tensor):
        return output
    if isinstance(output, (tuple, list)):
        return next((v for v in output if isinstance(v, torch.Tensor)), None)
    return None


def in_backward() -> bool:
    """Whether autograd runs now: a forward inside it is a recomputation."""
    return torch._C._current_graph_task_id() != -1


class LayerObserver:
    """What one layer did in one step. Forwards without gradient do not count, nor does a checkpoint's second forward."""

    def __init__(self, owner: "Observer", index: int, layer: Layer):
        self.owner, self.index, self.layer = owner, index, layer
        self.sums, self.stream_sums = Sums(), Sums()
        self.watch: list[Watch] = []
        self.forwards = 0
        self.block_forwards = 0
        self.before: torch.Tensor | None = None
        self.write: torch.Tensor | None = None
        self.hidden: torch.Tensor | None = None
        self.recording = self.block_recording = False
        self.calls = 0

    def hooks(self) -> list:
        """Installs everything; returns the handles."""
        layer = self.layer
        handles = [
            layer.attention.register_forward_pre_hook(self.enter, with_kwargs=True),
            layer.attention.register_forward_hook(self.leave, always_call=True),
        ]
        if layer.block is not None:
            handles += [
                layer.block.register_forward_pre_hook(self.block_enter, with_kwargs=True),
                layer.block.register_forward_hook(self.block_leave),
                layer.attention_write.register_forward_hook(self.keep_write),
            ]
            if layer.down is not None:
                handles.append(layer.down.register_forward_pre_hook(self.keep_hidden))
        return handles

    def counts(self, forwards: int) -> bool:
        """Whether the forward about to run is one to look at."""
        if not torch.is_grad_enabled():
            return False
        if not in_backward():
            return True
        # A checkpoint recomputes: look only if its first forward ran without gradient.
        return forwards < self.owner.forwards

    def enter(self, module, args, kwargs):
        self.recording = self.counts(self.forwards)
        if self.recording:
            self.forwards += 1
            self.calls = 0
        watch = Watch(self.seen, self.scores) if self.recording else None
        self.watch.append(watch)
        if watch is not None:
            watch.__enter__()

    def leave(self, module, args, output):
        watch = self.watch.pop() if self.watch else None
        if watch is not None:
            watch.__exit__(None, None, None)
        self.recording = False

    def seen(self, call: Call, output: torch.Tensor) -> torch.Tensor:
        if not output.requires_grad:
            return output
        if call.query.dim() != 4 or call.query.shape[1] != self.layer.heads:
            self.owner.problem("attention calls of another shape than the layer's heads", self.layer.name)
            return output
        self.calls += 1
        if self.calls > 1:
            self.owner.problem("several attention calls in one layer: their statistics are added", self.layer.name)
        sample = self.owner.sample
        sequences = call.query.shape[0] if sample is None else min(sample, call.query.shape[0])
        if sequences:
            output.register_hook(lambda g: self.add(attention.call_sums(call, g, sequences)))
        self.owner.scales[self.index] = call.scale
        self.owner.rounded |= call.query.dtype in (torch.bfloat16, torch.float16)
        if call.query.requires_grad:
            query = call.query
            query.register_hook(lambda g: self.sums.add("sgs", attention.head_dots(query, g)))
        self.owner.saw.add(self.index)
        return output

    def scores(self, logits: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """Attention written out: softmax over logits, masks already added."""
        if not output.requires_grad or logits.shape[-2] < 1:
            return output
        heads = self.layer.heads
        if logits.dim() == 3 and logits.shape[0] % heads == 0:
            shape = (logits.shape[0] // heads, heads, *logits.shape[-2:])
        elif logits.dim() == 4 and logits.shape[1] == heads:
            shape = tuple(logits.shape)
        else:
            return output
        sample = self.owner.sample
        sequences = shape[0] if sample is None else min(sample, shape[0])

        def add(gradient: torch.Tensor) -> None:
            with torch.no_grad():
                s, g = logits.detach().reshape(shape).float(), gradient.reshape(shape).float()
                allowed = s > 0.5 * torch.finfo(logits.dtype).min
                kept, g = s.masked_fill(~allowed, 0.0), g.masked_fill(~allowed, 0.0)
                if sequences:
                    sums = attention.logit_sums(kept[:sequences], allowed[:sequences])
                    if sequences == shape[0]:
                        sums.totals["logits"][:, attention.TOTALS.index("gs2")] = attention.per_head(g.square())
                    self.add(sums)
                self.sums.add("sgs", attention.per_head(kept * g))

        if logits.requires_grad:
            logits.register_hook(add)
            self.owner.saw.add(self.index)
            self.owner.problem("attention written out: no query and key norms", self.layer.name)
        return output

    def add(self, sums: Sums) -> None:
        self.sums.merge(sums)

    def block_enter(self, module, args, kwargs):
        self.block_recording = self.counts(self.block_forwards)
        if self.block_recording:
            self.block_forwards += 1
            self.before = first_tensor(args, kwargs, "hidden_states", "x", "src")
            self.write = self.hidden = None

    def keep_write(self, module, args, output):
        if self.block_recording and self.write is None:
            self.write = output_tensor(output)

    def keep_hidden(self, module, args):
        if self.block_recording:
            self.hidden = first_tensor(args, {})

    def block_leave(self, module, args, output):
        if not self.block_recording:
            return
        self.block_recording = False
        after, before, write, hidden = output_tensor(output), self.before, self.write, self.hidden
        self.before = self.write = self.hidden = None
        if before is None or write is None or after is None or not after.requires_grad:
            return
        sample = self.owner.sample
        cut = None if sample is None else max(1, sample)
        of = lambda x: streams.tokens(x, cut)
        sums = streams.block_sums(of(before), of(write), of(after), None if hidden is None else of(hidden))
        after.register_hook(lambda g: self.stream_sums.merge(sums))


class Observer:
    """All layers in one step."""

    def __init__(self, layers: list[Layer], sample: int | None, problem):
        self.layers, self.sample, self.problem = layers, sample, problem
        self.forwards = 0
        self.saw: set[int] = set()
        self.rounded = False
        """Whether queries were stored in 16 bits."""
        self.scales: dict[int, float] = {}
        self.observers = [LayerObserver(self, i, l) for i, l in enumerate(layers)]
        self.handles: list = []

    def install(self, root: torch.nn.Module) -> None:
        self.handles = [root.register_forward_pre_hook(self.root_enter)]
        for observer in self.observers:
            self.handles += observer.hooks()

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()
        self.handles = []

    def root_enter(self, module, args):
        if torch.is_grad_enabled() and not in_backward():
            self.forwards += 1

    def all(self) -> Sums:
        """Everything seen, in one: ``logits`` and ``sgs`` with the layers in front (NaN for a layer that lacks one), and
        each block's totals as ``block.LAYER`` and so on."""
        out = Sums()
        for kind in ("totals", "maxima"):
            for name in ("logits", "sgs"):
                each = [getattr(o.sums, kind).get(name) for o in self.observers]
                found = next((v for v in each if v is not None), None)
                if found is not None:
                    nan = torch.full_like(found, torch.nan)
                    getattr(out, kind)[name] = torch.stack([nan if v is None else v for v in each])
        for at, o in enumerate(self.observers):
            for name, value in o.stream_sums.totals.items():
                out.totals[f"{name}.{at}"] = value
        return out

    def reset(self) -> None:
        """Forget what was seen: the step did not happen."""
        for o in self.observers:
            o.sums, o.stream_sums, o.forwards, o.block_forwards = Sums(), Sums(), 0, 0
        self.forwards = 0
        self.saw.clear()

