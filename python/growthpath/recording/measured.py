"""Growth accounting (3.1) for any causal attention: the corners are measured by running each attention module again on
old and new inputs under old and new weights. Nothing is assumed of how logits come about: queries and keys may be
normalised, logits capped, rotations scaled, positions biased."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch.func import functional_call

from . import attention
from .capture import Seen
from .intercept import Watch
from .layers import Layer, Projection

OLD, NEW = 0, 1
AGREE = 1e-3
"""How closely an old corner must be found again, relatively."""


class NotMeasurable(ValueError):
    """Why corners cannot be measured."""


@dataclass
class Taken:
    """One layer at one probe: how its attention was called, the weights that its logits may depend on, and its spread."""

    args: tuple
    kwargs: dict[str, Any]
    weights: dict[str, torch.Tensor]
    spread: np.ndarray | None = None


@dataclass
class Logits:
    """Logits ``[B, H, T, S]`` as softmax got them, and which pairs count."""

    values: torch.Tensor
    allowed: torch.Tensor

    def __post_init__(self) -> None:
        self.sums = attention.logit_sums(self.values, self.allowed)

    def spread(self) -> np.ndarray:
        totals = dict(zip(attention.TOTALS, self.sums.totals["logits"].cpu().numpy().T))
        return np.sqrt(totals["centred"] / totals["pairs"])

    def state(self) -> dict[str, np.ndarray]:
        """Columns of `probe` about these logits alone, ``[heads]`` each."""
        totals, maxima = (v["logits"].cpu().numpy()[None] for v in (self.sums.totals, self.sums.maxima))
        every = attention.columns(totals, maxima, np.ones((1, 1)))
        return {name: every[name][0] for name in ("spread", "entropy", "sharpness", "top1", "s_max")}

    def centred(self) -> torch.Tensor:
        """Row-centred in float64, zero where nothing attends."""
        kept = self.values.double().masked_fill(~self.allowed, 0.0)
        count = self.allowed.sum(-1, keepdim=True).clamp_min(1)
        return (kept - kept.sum(-1, keepdim=True) / count).masked_fill(~self.allowed, 0.0)


def _names(layer: Layer) -> dict[int, str]:
    return {id(p): name for name, p in layer.attention.named_parameters(remove_duplicate=False)}


def _own(layer: Layer, side: Projection, norm: torch.nn.Module | None) -> list[str]:
    """Names of the parameters that belong to the queries or to the keys alone or with other rows."""
    names = _names(layer)
    wanted = [side.parameter(), side.bias_parameter()]
    wanted += [] if norm is None else list(norm.parameters())
    missing = [p for p in wanted if p is not None and id(p) not in names]
    if missing:
        raise NotMeasurable(f"{layer.name}: W_Q and W_K are not parameters of the attention module, which has to be run with others")
    return [names[id(p)] for p in wanted if p is not None]


def take(layer: Layer, seen: Seen) -> Taken:
    """What has to be kept of a probe: inputs by reference, weights as copies (vectors, and the matrices of W_Q and W_K)."""
    if any(hasattr(p, "full_tensor") for p in layer.attention.parameters()):
        raise NotMeasurable(f"{layer.name}: sharded attention cannot be run with other weights")
    own = {*_own(layer, layer.query, layer.query_norm), *_own(layer, layer.key, layer.key_norm)}
    weights = {n: p.detach().clone() for n, p in layer.attention.named_parameters() if n in own or p.dim() < 2}
    return Taken(seen.args, seen.kwargs, weights)


def mixed(layer: Layer, x: Taken, query: Taken, key: Taken) -> dict[str, torch.Tensor]:
    """Parameters of one corner: those of the queries and of the keys from two probes, all others from the inputs'."""
    out = {name: w.clone() for name, w in x.weights.items()}
    names = _names(layer)
    for side, norm, source in ((layer.query, layer.query_norm, query), (layer.key, layer.key_norm, key)):
        for parameter in (side.parameter(), side.bias_parameter()):
            if parameter is None:
                continue
            name = names[id(parameter)]
            rows, theirs = side.cut(out[name]), side.cut(source.weights[name])
            if rows.untyped_storage().data_ptr() != out[name].untyped_storage().data_ptr():
                raise NotMeasurable(f"{layer.name}: the rows of its heads do not lie in one matrix")
            rows.copy_(theirs)
        for parameter in () if norm is None else norm.parameters():
            out[names[id(parameter)]] = source.weights[names[id(parameter)]]
    return out


def logits_of(layer: Layer, x: Taken, parameters: dict[str, torch.Tensor]) -> Logits:
    """The logits that the layer's attention makes of inputs under these parameters."""
    found: list[Logits] = []
    heads = layer.heads

    def seen(call: attention.Call, output: torch.Tensor) -> torch.Tensor:
        s = call.logits(0, call.query.shape[0])
        allowed = call.allowed(0, call.query.shape[0])
        allowed = torch.ones(1, dtype=torch.bool, device=s.device) if allowed is None else allowed
        found.append(Logits(s, allowed.expand(s.shape)))
        return output

    def scores(logits: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        s = logits.reshape(-1, heads, *logits.shape[-2:]).float()
        found.append(Logits(s, s > 0.5 * torch.finfo(logits.dtype).min))
        return output

    with Watch(seen, scores):
        functional_call(layer.attention, parameters, x.args, x.kwargs)
    if len(found) != 1:
        raise NotMeasurable(f"{layer.name}: {len(found)} softmax over scores in its attention, one was expected")
    s = found[0]
    t, keys = s.values.shape[-2:]
    causal = torch.ones(t, keys, dtype=torch.bool, device=s.values.device).tril()
    if t != keys or not bool((s.allowed == causal).all()):
        raise NotMeasurable(f"{layer.name}: attention is not causal self-attention over whole sequences")
    return s


def _parts(v: np.ndarray) -> dict[str, np.ndarray]:
    """(3.1) from the log spreads of the corners ``[features, queries, keys, heads]``; undefined where one is."""
    v = np.where(np.isfinite(v).all((0, 1, 2)), v, np.nan)
    return {
        "gamma_q": (v[:, NEW] - v[:, OLD]).mean((0, 1)),
        "gamma_k": (v[:, :, NEW] - v[:, :, OLD]).mean((0, 1)),
        "gamma_f": 0.5 * (v[NEW, OLD, OLD] - v[OLD, OLD, OLD] + v[NEW, NEW, NEW] - v[OLD, NEW, NEW]),
    }


def interval(layer: Layer, old: Taken, new: Taken) -> dict[str, np.ndarray]:
    """Columns of `probe` over an interval, ``[heads]`` each; fills in ``new.spread``."""
    times = (old, new)
    v = np.empty((2, 2, 2, layer.heads))
    kept: dict[tuple[int, int, int], torch.Tensor] = {}
    columns: dict[str, np.ndarray] = {}
    for corner in product((OLD, NEW), repeat=3):
        x, q, k = (times[i] for i in corner)
        s = logits_of(layer, x, mixed(layer, x, q, k))
        spread = s.spread()
        if corner in ((OLD, OLD, OLD), (OLD, NEW, NEW), (NEW, NEW, NEW)):
            kept[corner] = s.centred()
        if corner == (OLD, OLD, OLD):
            gap = np.abs(spread - old.spread) / np.maximum(old.spread, 1e-30)
            if not gap.max() < AGREE:
                raise NotMeasurable(f"{layer.name}: its logits hang on parameters beside W_Q, W_K and vectors (relative difference {gap.max():.1e})")
            # The state as it was recorded, so that windows add up exactly.
            spread = old.spread
        if corner == (NEW, NEW, NEW):
            columns |= s.state()
            new.spread = columns["spread"]
        with np.errstate(divide="ignore"):
            v[corner] = np.log(spread)
    start, end, weights = kept[OLD, OLD, OLD], kept[NEW, NEW, NEW], kept[OLD, NEW, NEW]
    over = lambda a, b: attention.per_head(a * b).cpu().numpy()
    pairs = attention.per_head(torch.ones_like(start).tril()).cpu().numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        columns["cos_theta"] = np.clip(over(start, end) / np.sqrt(over(start, start) * over(end, end)), -1.0, 1.0)
        columns |= _parts(v)
        columns["gamma"] = v[NEW, NEW, NEW] - v[OLD, OLD, OLD]
        columns["gamma_w_start"] = v[OLD, NEW, NEW] - v[OLD, OLD, OLD]
    columns["ds_w"] = np.sqrt(over(weights - start, weights - start) / pairs)
    columns["spread_prev"] = old.spread
    return columns


def state(layer: Layer, now: Taken) -> dict[str, np.ndarray]:
    """Columns of `probe` at a run's first probe; fills in ``now.spread``."""
    columns = logits_of(layer, now, mixed(layer, now, now, now)).state()
    now.spread = columns["spread"]
    return columns


@dataclass
class Measured:
    """Takes probes of a model by running its attention modules."""

    last: list[Taken] | None = None
    last_step: int | None = None
    off: str | None = None
    """Why it cannot be done; none where it can."""

    def probe(self, writer: Any, step: int, layers: list[Layer], seen: list[Seen], eta: list[float]) -> bool:
        """Writes rows of `probe`; False, with the reason in ``off``, where corners cannot be measured."""
        try:
            now = [take(l, s) for l, s in zip(layers, seen)]
            if self.last is None:
                each = [state(l, t) for l, t in zip(layers, now)]
            else:
                each = [interval(l, a, b) for l, a, b in zip(layers, self.last, now)]
        except NotMeasurable as why:
            self.off = str(why)
            return False
        heads = layers[0].heads
        n = len(layers) * heads
        columns = {name: np.concatenate([c[name] for c in each]) for name in each[0]}
        columns["step"] = np.full(n, step, np.uint32)
        columns["prev_step"] = np.full(n, step if self.last_step is None else self.last_step, np.uint32)
        columns["layer"] = np.repeat(np.arange(len(layers), dtype=np.uint16), heads)
        columns["head"] = np.tile(np.arange(heads, dtype=np.uint16), len(layers))
        if self.last is not None:
            columns["eta"] = np.repeat(np.asarray(eta, np.float64), heads)
        writer.append("probe", columns)
        self.last, self.last_step = now, step
        return True
