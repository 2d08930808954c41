"""Probes, evaluations and reliance on fixed tokens, and when they are due."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .. import _native
from .capture import Capture, Forward, default_forward, float32, losses, projections, quiet
from .layers import Layer, Structure, plain
from .measured import Measured

MOST_HEADS = 400
"""Models with more heads are measured by layers and halves: a forward pass a head would take too long."""
WHOLE = 65535
"""`head` of a reliance row that speaks of a whole layer or half."""


def check_tokens(tokens: Any) -> torch.Tensor:
    """Probe tokens ``[B, T + 1]``: inputs and the token after each."""
    tokens = torch.as_tensor(np.asarray(tokens) if not isinstance(tokens, torch.Tensor) else tokens)
    if tokens.dim() != 2 or tokens.is_floating_point() or tokens.shape[1] < 3 or tokens.shape[0] < 1:
        raise ValueError(
            f"probe_tokens: expected whole numbers of shape [sequences, length + 1], at least 1 x 3, found {tuple(tokens.shape)} of {tokens.dtype}"
        )
    return tokens.long()


def rotate(x: torch.Tensor, base: float, dims: int) -> torch.Tensor:
    """Rotary positions on ``[..., T, d_h]``: coordinates i and i + dims/2 turn together."""
    half = dims // 2
    frequency = base ** (-2.0 * torch.arange(half, dtype=x.dtype) / dims)
    angle = torch.arange(x.shape[-2], dtype=x.dtype)[:, None] * frequency
    cos, sin = angle.cos(), angle.sin()
    a, b, rest = x[..., :half], x[..., half:dims], x[..., dims:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], -1)


class Prober:
    """Takes probes of a model through its own forward pass."""

    def __init__(self, model: torch.nn.Module, structure: Structure, tokens: torch.Tensor, forward: Forward | None, lags: list[int]):
        self.model, self.structure = model, structure
        self.tokens = tokens
        self.forward = forward or default_forward
        self.off: str | None = None
        """Why growth cannot be predicted from weights and moments; none where it can."""
        self.measured = Measured()
        """Splits growth all the same."""
        self.shares_off: str | None = None
        self.diverged = False
        """Whether a probe's loss was not finite: nothing is measured from there on."""
        self.checked = False
        rotary = structure.rotary
        self.native = _native.Prober(
            structure.heads,
            structure.head_dim,
            None if rotary is None else rotary.base,
            None if rotary is None else rotary.dims,
            lags,
        )
        self._known_obstacles()

    def _known_obstacles(self) -> None:
        layers = self.structure.layers
        if any(l.qk_norm for l in layers):
            self.off = "queries and keys are normalised: the logits are not bilinear in W_Q and W_K (sections 3 to 6 do not apply)"
        elif any(l.softcap for l in layers):
            self.off = "the logits are capped: they are not bilinear in W_Q and W_K"
        elif self.structure.rotary_problem:
            self.off = f"rotary positions: {self.structure.rotary_problem}"

    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def run(self, capture: Capture, tokens: torch.Tensor) -> np.ndarray:
        """A forward pass; each sequence's loss."""
        tokens = tokens.to(self.device())
        with quiet(self.model), capture.installed():
            logits = self.forward(self.model, tokens[:, :-1], tokens[:, 1:])
            return losses(logits, tokens[:, 1:])

    def probe(self, writer: Any, step: int, eta: list[float], trained_tokens: int) -> None:
        """Takes a probe and writes its rows; ``writer`` is None on ranks that only take part in the forward pass."""
        capture = Capture(self.structure)
        each = self.run(capture, self.tokens)
        if writer is not None:
            self.evaluation(writer, step, each, trained_tokens)
        self.diverged |= not np.isfinite(each).all()
        if self.diverged:
            return
        if self.off is None and not self.checked:
            self.off = self._disagreement(capture)
            self.checked = True
        if self.off is not None:
            self._measure(writer, step, capture, eta)
            return
        captured = [self._layer(l, s, eta[i]) for i, (l, s) in enumerate(zip(self.structure.layers, capture.seen))]
        if writer is None:
            return
        writes = self._writes(capture) if self.shares_off is None else []
        if self.shares_off is not None:
            for c in captured:
                c["norm"] = None
        self.native.probe(writer, step, captured, writes)

    def _measure(self, writer: Any, step: int, capture: Capture, eta: list[float]) -> None:
        """Growth split by running the attention modules, and what their inputs say; nothing is predicted."""
        if writer is None or self.measured.off is not None:
            return
        layers = self.structure.layers
        with quiet(self.model):
            done = self.measured.probe(writer, step, layers, capture.seen, eta)
        if done:
            self.native.basis(writer, step, [float32(s.x) for s in capture.seen])

    @property
    def status(self) -> str:
        """For `coverage`: ``on``, or what is missing and why."""
        if self.off is None:
            return "on"
        if self.measured.off is None:
            return f"measured, not predicted: {self.off}"
        return f"none: {self.off}; {self.measured.off}"

    @property
    def shares(self) -> str:
        """The same of residual shares, which need predictions."""
        return "on" if self.off is None and self.shares_off is None else self.shares_off or "none: growth is not predicted"

    def evaluation(self, writer: Any, step: int, each: np.ndarray, trained_tokens: int) -> None:
        n = len(each)
        error = float(each.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
        at = np.full(n, step, np.uint32)
        writer.append("eval_losses", {"step": at, "sequence": np.arange(n, dtype=np.uint32), "loss": each})
        one = lambda v, t: np.array([v], t)
        writer.append(
            "evals",
            {
                "step": one(step, np.uint32),
                "tokens": one(trained_tokens, np.uint64),
                "loss": one(each.mean(), np.float64),
                "stderr": one(error, np.float64),
                "sequences": one(n, np.uint32),
            },
        )

    def _layer(self, layer: Layer, seen: Any, eta: float) -> dict[str, Any]:
        wq, wk, bq, bk = projections(layer, seen.calls[0].scale)
        x = float32(seen.x)
        norm = None
        if self.shares_off is None:
            norm = self._norm(layer, seen, x)
        return {"x": x, "wq": wq, "wk": wk, "bq": bq, "bk": bk, "norm": norm, "eta": float(eta)}

    def _norm(self, layer: Layer, seen: Any, x: np.ndarray) -> dict[str, Any] | None:
        """How the norm read the stream, checked against what attention got."""
        if seen.stream is None or seen.write is None or seen.after is None:
            self.shares_off = f"{layer.name}: no residual block around it is known"
            return None
        h = seen.stream.float().reshape(-1, seen.stream.shape[-1])
        width = h.shape[-1]
        module, bias = layer.norm, None
        if module is None:
            gain, rstd, centred = torch.ones(width), torch.ones(h.shape[0]), False
        else:
            weight = getattr(module, "weight", None)
            gain = torch.ones(width) if weight is None else plain(weight.detach()).float() + layer.norm_offset
            own = getattr(module, "bias", None)
            bias = None if own is None else plain(own.detach()).float()
            eps = next((float(getattr(module, n)) for n in ("eps", "variance_epsilon", "norm_eps") if getattr(module, n, None) is not None), 1e-5)
            centred = isinstance(module, torch.nn.LayerNorm) or (bias is not None and "RMS" not in type(module).__name__)
            c = h - h.mean(-1, keepdim=True) if centred else h
            rstd = torch.rsqrt(c.square().mean(-1) + eps)
        c = h - h.mean(-1, keepdim=True) if centred else h
        made = gain.to(c.device) * c * rstd.to(c.device)[:, None]
        made = made if bias is None else made + bias.to(c.device)
        want = torch.from_numpy(x).reshape(-1, width)
        gap = (made.cpu() - want).norm() / want.norm().clamp_min(1e-30)
        if not gap < self._tolerance(seen.stream.dtype):
            self.shares_off = f"{layer.name}: attention's input is not its norm of the stream (relative difference {float(gap):.1e})"
            return None
        return {"gain": float32(gain), "rstd": float32(rstd), "centred": centred, "stream": float32(h)}

    def _writes(self, capture: Capture) -> list[np.ndarray]:
        """Embedding, attn_0, ffn_0, ... up to what the last layer's attention reads."""
        flat = lambda t: t.float().reshape(-1, t.shape[-1])
        out = [float32(flat(capture.seen[0].stream))]
        for seen, above in zip(capture.seen, capture.seen[1:]):
            write = flat(seen.write)
            out.append(float32(write))
            # Everything else that lies between this layer's stream and the next one's.
            out.append(float32(flat(above.stream) - flat(seen.stream) - write))
        return out

    @staticmethod
    def _tolerance(dtype: torch.dtype) -> float:
        return 1e-3 if dtype in (torch.float32, torch.float64) else 5e-2

    def _disagreement(self, capture: Capture) -> str | None:
        """Whether W_Q, W_K, scale and rotation give the logits that the model computed: the guard against every
        architecture that is not what it looks like."""
        for layer, seen in zip(self.structure.layers, capture.seen):
            if len(seen.calls) != 1:
                how = "attention is written out (use scaled_dot_product_attention, attn_implementation='sdpa')" if seen.written_out else f"{len(seen.calls)} calls of scaled_dot_product_attention"
                return f"{layer.name}: {how}"
            call = seen.calls[0]
            if not call.is_self_causal:
                return f"{layer.name}: attention is not causal self-attention over whole sequences"
            if call.added(0, 1) is not None and bool(call.added(0, 1).abs().max() > 0):
                return f"{layer.name}: a position bias is added to its logits"
            wq, wk, bq, bk = (None if v is None else torch.from_numpy(v) for v in projections(layer, call.scale))
            x = seen.x[0].double().cpu()
            split = lambda w, b: (x @ w + (0.0 if b is None else b)).view(x.shape[0], layer.heads, layer.head_dim).transpose(0, 1)
            q, k = split(wq, bq), split(wk, bk)
            if self.structure.rotary is not None:
                q, k = (rotate(v, self.structure.rotary.base, self.structure.rotary.dims) for v in (q, k))
            ours = (q @ k.transpose(-1, -2)) * layer.head_dim**-0.5
            theirs = call.logits(0, 1)[0].double().cpu()
            size = lambda s: s.flatten(1).norm(dim=1)
            gap = float((size(ours - theirs) / size(theirs).clamp_min(1e-12)).max())
            if not gap < self._tolerance(call.query.dtype):
                return f"{layer.name}: W_Q, W_K and the known rotation do not give its logits (relative difference {gap:.1e})"
        return None

    def reliance(self, writer: Any, step: int, detail: bool) -> None:
        """Loss with attention replaced by the uniform average, less the loss without: of both halves, and where
        ``detail`` of every head and layer."""
        if self.diverged:
            return
        layers, heads = len(self.structure.layers), list(range(self.structure.heads))
        whole = lambda which: {l: heads for l in which}
        jobs: list[tuple[int, int, int, dict[int, list[int]]]] = []
        if detail and layers * len(heads) <= MOST_HEADS:
            jobs += [(0, l, h, {l: [h]}) for l in range(layers) for h in heads]
        if detail:
            jobs += [(1, l, WHOLE, whole([l])) for l in range(layers)]
        if layers >= 2:
            jobs += [(2, 0, WHOLE, whole(range(layers // 2))), (2, 1, WHOLE, whole(range(layers // 2, layers)))]
        capture = Capture(self.structure, keep=False)
        base = self.run(capture, self.tokens)
        n, rows = len(base), []
        for scope, layer, head, uniform in jobs:
            capture.uniform = uniform
            delta = self.run(capture, self.tokens) - base
            error = float(delta.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
            rows.append((scope, layer, head, delta.mean(), error))
        if writer is None or not rows:
            return
        scope, layer, head, delta, error = (np.array(c) for c in zip(*rows))
        count = len(rows)
        writer.append(
            "reliance",
            {
                "step": np.full(count, step, np.uint32),
                "scope": scope.astype(np.uint8),
                "layer": layer.astype(np.uint16),
                "head": head.astype(np.uint16),
                "delta": delta.astype(np.float64),
                "stderr": error.astype(np.float64),
                "base_loss": np.full(count, base.mean()),
                "sequences": np.full(count, n, np.uint32),
            },
        )
