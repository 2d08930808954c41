"""The recorder: hooks around somebody else's training loop, rows for the trace."""

from __future__ import annotations

import json
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np
import torch

from .. import _native
from . import attention, describe, ranks, rows, weights
from .capture import Forward
from .layers import plain
from .observe import Observer, first_tensor
from .patches import Patches
from .probes import Prober, check_tokens
from .resolve import resolve
from .schedule import Schedule
from .sums import Sums
from .tokens import save_tokens

_CLOSED = "the recorder is closed"


class RecorderError(RuntimeError):
    """The recorder cannot do what it is there for."""


def inner(model: torch.nn.Module) -> torch.nn.Module:
    """The model itself, without DistributedDataParallel's or torch.compile's wrapper."""
    while True:
        if isinstance(model, torch.nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(getattr(model, "_orig_mod", None), torch.nn.Module):
            model = model._orig_mod
        else:
            return model


class Recorder:
    """Records a training loop that it does not own; made by :func:`growthpath.record`."""

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        path: str | Path,
        *,
        probe_tokens: Any = None,
        steps: int | None = None,
        every: int = 1,
        sample: int | None = None,
        probe_every: int | None = None,
        reliance_every: int | None = None,
        label: str = "",
        config: Mapping[str, Any] | None = None,
        mapping: Sequence[Mapping[str, Any]] | None = None,
        forward: Forward | None = None,
        seed: int | None = None,
    ):
        if every < 1:
            raise ValueError(f"every must be at least 1, found {every}")
        if sample is not None and sample < 0:
            raise ValueError(f"sample must be 0 or more sequences, found {sample}")
        self.outer, self.model = model, inner(model)
        self.optimizer = getattr(optimizer, "optimizer", optimizer)
        if not isinstance(self.optimizer, torch.optim.Optimizer):
            raise TypeError(f"optimizer: a torch.optim.Optimizer was expected, found {type(optimizer).__name__}")
        self.structure = resolve(self.model, mapping)
        self.layers = self.structure.layers
        self.compiled = hasattr(model, "_orig_mod") or hasattr(getattr(model, "module", None), "_orig_mod")
        self.problems: Counter[str] = Counter()
        self.every, self.sample = every, sample
        self.step, self.trained = 0, 0
        self.eta = [0.0] * len(self.layers)
        self.counts: Counter[str] = Counter()
        self.writer = None
        self.closed = self.rounded = False
        for note in self.structure.notes:
            self.problem(note)
        tokens = None if probe_tokens is None else check_tokens(probe_tokens)
        self.schedule = Schedule(steps, probe_every, reliance_every)
        lags = self.schedule.lags
        self.prober = None if tokens is None else Prober(self.model, self.structure, tokens, forward, lags)
        self.sharded = any(hasattr(p, "full_tensor") for p in self.model.parameters())
        if ranks.rank() == 0:
            info = describe.info(self, label, config or {}, tokens, seed)
            self.writer = _native.Writer(str(path), json.dumps(info))
            if tokens is not None:
                save_tokens(Path(path), tokens)
        self._start()

    # -- life ---------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self.observer: Observer | None = None
        self.loss: torch.Tensor | None = None
        self.scale, self.clip, self.norm = 1.0, 1.0, None
        self.tokens = 0
        self.weights = weights.Weights(self.layers)
        self.handles = [
            self.outer.register_forward_pre_hook(self._count_tokens, with_kwargs=True),
            self.optimizer.register_step_pre_hook(self._before_step),
            self.optimizer.register_step_post_hook(self._after_step),
        ]
        self.patches = Patches(self)
        self.patches.install()
        self.clock = time.perf_counter()
        try:
            self._measure()
            self._arm()
        except BaseException:
            self._release()
            raise

    def _release(self) -> None:
        """Takes every hook back."""
        self.closed = True
        self._disarm()
        for handle in self.handles:
            handle.remove()
        self.patches.remove()

    def close(self, status: str | None = None) -> None:
        """Takes a last probe, writes what is left and the coverage, and takes every hook back. ``status``: ``complete``,
        ``interrupted`` or ``diverged``; by default complete where as many steps were done as announced."""
        if self.closed:
            return
        self._release()
        if self.prober is not None and self.step > 0 and self.schedule.last_probe != self.step:
            self._measure(last=True)
        if self.writer is None:
            return
        if self.prober is not None:
            self.prober.native.settle(self.writer)
        self.writer.update(json.dumps(describe.ending(self)))
        planned = self.schedule.steps
        self.writer.finish(status or ("complete" if planned is None or self.step >= planned else "interrupted"))

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, kind, error, trace) -> None:
        self.close(None if kind is None else "interrupted")

    def problem(self, what: str, where: str | None = None) -> None:
        """Counts something that the recorder cannot see, and says it once."""
        if what not in self.problems:
            warnings.warn(f"growthpath: {what}" + (f" ({where})" if where else ""), stacklevel=3)
        self.problems[what] += 1

    # -- outside the model ----------------------------------------------------------------------------------------------

    def _count_tokens(self, module, args, kwargs) -> None:
        if not torch.is_grad_enabled():
            return
        x = next((v for v in [*args, *kwargs.values()] if isinstance(v, torch.Tensor) and not v.is_floating_point() and v.dim() >= 2), None)
        if x is None:
            x = first_tensor(args, kwargs)
            self.tokens += 0 if x is None else int(np.prod(x.shape[:2]))
        else:
            self.tokens += x.shape[0] * x.shape[1]

    def on_backward(self, tensors: Any) -> None:
        """The root of a backward pass: its value is the loss whose gradient the optimizer will see."""
        root = tensors if isinstance(tensors, torch.Tensor) else next(iter(tensors), None)
        if isinstance(root, torch.Tensor) and root.numel() == 1 and root.requires_grad and self.tokens:
            value = root.detach().double().reshape(())
            self.loss = value if self.loss is None else self.loss + value

    def _ours(self, parameters: list) -> bool:
        ids = {id(p) for p in parameters}
        return any(id(side.parameter()) in ids for l in self.layers for side in (l.query, l.key))

    def on_clip(self, parameters: list, limit: float, total: torch.Tensor) -> None:
        """Gradients are about to be scaled to a global norm."""
        if self._ours(parameters):
            norm = float(plain(total.detach()))
            self.norm = norm
            self.clip *= min(1.0, limit / (norm + 1e-6))

    def on_clip_value(self, parameters: list) -> None:
        if self._ours(parameters):
            self.problem("gradients were clipped entry by entry: gradient columns are those after it, and (2.1) does not hold")

    def on_scale(self, scaler: Any) -> None:
        self.scale = float(scaler.get_scale())

    def steps_seen(self, optimizer: Any) -> int:
        return self.step

    def on_scaler_step(self, optimizer: Any, before: int) -> None:
        """A scaler that found infinite gradients takes no step: what was seen for it does not count."""
        if getattr(optimizer, "optimizer", optimizer) is self.optimizer and self.step == before:
            self.counts["skipped by the gradient scaler"] += 1
            self._forget()
            if self.observer is not None:
                self.observer.reset()

    # -- the step -------------------------------------------------------------------------------------------------------

    def _due(self) -> bool:
        return self.step % self.every == 0

    def _arm(self) -> None:
        if self._due():
            self.observer = Observer(self.layers, self.sample, self.problem)
            self.observer.install(self.outer)
        if self.compiled:
            torch.compiler.set_stance("force_eager" if self._due() else "default")

    def _disarm(self) -> None:
        if self.observer is not None:
            self.observer.remove()
            self.observer = None
        if self.compiled:
            torch.compiler.set_stance("default")

    def _forget(self) -> None:
        self.loss, self.norm, self.clip, self.tokens = None, None, 1.0, 0
        self.weights.forget()

    def _before_step(self, optimizer, args, kwargs) -> None:
        # A fused optimizer unscales by itself.
        own_scale = getattr(optimizer, "grad_scale", None)
        unscale = 1.0 if own_scale is None else 1.0 / float(own_scale)
        if self.norm is None:
            self.norm = self._global_norm() * unscale
        self.rates = self._rates()
        if self.observer is not None:
            self.weights.before(unscale / self.clip)

    def _global_norm(self) -> float:
        grads = [p.grad for g in self.optimizer.param_groups for p in g["params"] if p.grad is not None]
        if not grads:
            return 0.0
        return float(plain(torch.nn.utils.get_total_norm(grads)))

    def _rates(self) -> list[float]:
        by_id = {id(p): g for g in self.optimizer.param_groups for p in g["params"]}
        out = []
        for layer in self.layers:
            group = by_id.get(id(layer.query.parameter()))
            if group is None:
                self.problem("W_Q is in none of the optimizer's groups: its learning rate counts as 0", layer.name)
            out.append(0.0 if group is None else float(group["lr"]))
        return out

    def _after_step(self, optimizer, args, kwargs) -> None:
        now = time.perf_counter()
        for i, rate in enumerate(self.rates):
            self.eta[i] += rate
        totals, loss = self._reduced()
        self.trained += int(totals["tokens"])
        if self.writer is not None:
            rows.step_row(self, loss, now - self.clock)
        if self.observer is not None:
            self._observed()
        self.step += 1
        self._disarm()
        self._forget()
        self._measure()
        self._arm()
        self.clock = time.perf_counter()

    def _reduced(self) -> tuple[dict[str, float], float]:
        sums = Sums()
        loss = torch.tensor(float("nan")) if self.loss is None else self.loss.cpu() / self.scale
        sums.add("loss", loss)
        sums.add("tokens", torch.tensor(float(self.tokens)))
        reduced = ranks.reduce(sums, next(self.model.parameters()).device).totals
        if self.loss is None:
            self.problem("no backward pass from a single number was seen: the loss is not recorded")
        totals = {n: float(v) for n, v in reduced.items()}
        return totals, totals["loss"] / ranks.world()

    def _observed(self) -> None:
        """Rows of `heads` and `writes` of this step."""
        observer = self.observer
        if self.weights.taken is None:
            return
        if not self.weights.any_gradient and not observer.saw:
            raise RecorderError(
                "nothing was recorded at this step: no forward pass of the model was seen, and W_Q and W_K have no gradients. "
                "Pass the model that the loop calls (the compiled or wrapped one), and an optimizer over its parameters"
            )
        for i, layer in enumerate(self.layers):
            if i not in observer.saw:
                self.problem(
                    "attention not seen: it runs neither through scaled_dot_product_attention nor through a softmax "
                    "(flash_attn and other kernels: use attn_implementation='sdpa')",
                    layer.name,
                )
        columns = weights.columns(self.layers, self.weights.after())
        seen = ranks.reduce(observer.all(), next(self.model.parameters()).device)
        totals = {name: value.cpu().numpy() for name, value in seen.totals.items()}
        scale = np.array([[observer.scales.get(i, l.head_dim**-0.5)] for i, l in enumerate(self.layers)])
        unit = self.scale * ranks.world()
        if "logits" in totals:
            columns |= attention.columns(totals["logits"], seen.maxima["logits"].cpu().numpy(), scale)
            columns["gs2"] = columns["gs2"] / unit**2
        if "sgs" in totals:
            columns["sgs"] = totals["sgs"] / unit
            # (2.1) speaks of W_Q's head alone, or of logits without a cap.
            unequal = [i for i, layer in enumerate(self.layers) if layer.qk_norm == "whole" or layer.softcap]
            columns["sgs"][unequal] = np.nan
        self.rounded |= observer.rounded
        self.counts["layers seen"] += len(observer.saw)
        self.counts["steps recorded"] += 1
        if self.writer is not None:
            rows.head_rows(self, columns)
            rows.write_rows(self, totals)

    # -- between steps --------------------------------------------------------------------------------------------------

    def _measure(self, last: bool = False) -> None:
        """Probes and reliance that are due."""
        if self.prober is None or not (self.writer is not None or self.sharded):
            if self.prober is not None and self.schedule.probe_due(self.step, last):
                self.schedule.probed(self.step)
                self.eta = [0.0] * len(self.layers)
            return
        if self.schedule.probe_due(self.step, last):
            self.prober.probe(self.writer, self.step, self.eta, self.trained)
            self.schedule.probed(self.step)
            self.eta = [0.0] * len(self.layers)
            if self.prober.diverged:
                self.problem("the loss on probe tokens is not finite: training diverged, and no probe is taken from here on")
            elif self.prober.off is not None:
                self.problem(f"growth accounting at probes: {self.prober.status}")
            elif self.prober.shares_off is not None:
                self.problem(f"no shares of residual writes: {self.prober.shares_off}")
        due = self.schedule.reliance_due(self.step, last)
        if due:
            self.prober.reliance(self.writer, self.step, detail=due == "detail")

    def coverage(self) -> dict[str, Any]:
        """What was seen and what was not."""
        return describe.coverage(self)

    def evaluation(self, losses: Any) -> None:
        """Records an evaluation of your own, now: the mean loss of each sequence, nats a token. Only without
        ``probe_tokens``, whose losses are recorded otherwise."""
        if self.closed:
            raise RecorderError(_CLOSED)
        if self.prober is not None:
            raise RecorderError("evaluations are recorded on probe_tokens; record without them to give your own")
        if self.writer is not None:
            each = np.asarray(losses, np.float64).reshape(-1)
            Prober.evaluation(self, self.writer, self.step, each, self.trained)
