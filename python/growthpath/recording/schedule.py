"""When to probe."""

from __future__ import annotations

from typing import Any

LAG = 0.02
"""Maturity's lag as a fraction of training."""


class Schedule:
    """Probes at powers of two, multiples of ``probe_every`` and the end. Lags of maturity are multiples of it, so that
    moments exactly a lag apart are there."""

    def __init__(self, steps: int | None, probe_every: int | None, reliance_every: int | None):
        for name, value in (("steps", steps), ("probe_every", probe_every), ("reliance_every", reliance_every)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, found {value}")
        self.steps = steps
        self.probe_every = probe_every or max(1, (steps or 2500) // 50)
        self.reliance_every = reliance_every or 4 * self.probe_every
        lag = max(1, round(LAG * steps / self.probe_every)) * self.probe_every if steps else self.probe_every
        self.lag = lag
        half = (lag // self.probe_every + 1) // 2 * self.probe_every
        self.lags = sorted({half, lag, 2 * lag})
        self.last_probe: int | None = None
        self.last_reliance: int | None = None

    def probe_due(self, step: int, last: bool) -> bool:
        if self.last_probe == step:
            return False
        return last or step % self.probe_every == 0 or step & (step - 1) == 0 or step == self.steps

    def probed(self, step: int) -> None:
        self.last_probe = step

    def reliance_due(self, step: int, last: bool) -> str | None:
        """``halves``, ``detail`` (heads and layers, too) or None."""
        if self.last_reliance == step:
            return None
        end = last or step == self.steps
        if end or step % self.reliance_every == 0:
            self.last_reliance = step
            return "detail" if end else "halves"
        return None

    def describe(self, tokens: Any) -> dict[str, Any]:
        """For run.json; the lag is a fraction of training there."""
        if tokens is None:
            return {"times": {"mode": "never"}}
        out = {
            "times": {"mode": "every", "steps": self.probe_every},
            "sequences": tokens.shape[0],
            "length": tokens.shape[1] - 1,
            "reliance_sequences": tokens.shape[0],
        }
        if self.steps:
            out["maturity_lag"] = self.lag / self.steps
        return out
