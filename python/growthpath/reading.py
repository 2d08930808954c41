"""Reading, explaining and drawing runs; no torch needed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from . import _native

Window = "tuple[int | None, int | None]"


class Picture:
    """One or several drawings of a figure: shown in a notebook, written with :meth:`save`."""

    def __init__(self, name: str, draw: Any):
        self.name = name
        self._draw = draw
        self._svg: list[bytes] = draw("svg")
        if not self._svg:
            raise ValueError(f"{name}: the runs hold nothing for it in these steps")

    def svg(self) -> list[str]:
        """A document a drawing."""
        return [d.decode() for d in self._svg]

    def png(self) -> list[bytes]:
        """288 pixels an inch, one image a drawing."""
        return self._draw("png")

    def pdf(self) -> list[bytes]:
        return self._draw("pdf")

    def save(self, path: str | os.PathLike) -> list[Path]:
        """Writes ``.svg``, ``.png`` or ``.pdf`` by the path's ending; further drawings get numbers."""
        path = Path(path)
        kind = path.suffix.lstrip(".").lower()
        if kind not in ("svg", "png", "pdf"):
            raise ValueError(f"{path}: end the name in .svg, .png or .pdf")
        paths = []
        for i, document in enumerate(self._svg if kind == "svg" else self._draw(kind)):
            target = path if i == 0 else path.with_stem(f"{path.stem}-{i + 1}")
            target.write_bytes(document)
            paths.append(target)
        return paths

    def _repr_html_(self) -> str:
        return "".join(f"<div>{d}</div>" for d in self.svg())

    def __repr__(self) -> str:
        return f"<growthpath figure {self.name}: {len(self._svg)} drawing(s); .save(path) writes it>"


class Run:
    """A recorded run. Every table is an attribute, a :class:`pyarrow.Table` read when asked for."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._native = _native.Run(os.fspath(path))

    @property
    def info(self) -> dict[str, Any]:
        """``run.json``."""
        return json.loads(self._native.info())

    @property
    def label(self) -> str:
        return self.info["label"]

    def table(self, name: str, start: int | None = None, end: int | None = None) -> pa.Table:
        """A table, rows of steps ``start`` to before ``end``; every part is held against its hash."""
        with pa.ipc.open_stream(self._native.table(name, start, end)) as reader:
            return reader.read_all()

    def rows(self) -> dict[str, int]:
        """Number of rows of every table."""
        return {name: self._native.rows(name) for name in _native.table_names()}

    @property
    def steps(self) -> pa.Table:
        """One row an optimizer step."""
        return self.table("steps")

    @property
    def heads(self) -> pa.Table:
        """One row a (step, layer, head)."""
        return self.table("heads")

    @property
    def writes(self) -> pa.Table:
        """One row a (step, layer, site)."""
        return self.table("writes")

    @property
    def evals(self) -> pa.Table:
        """One row an evaluation."""
        return self.table("evals")

    @property
    def eval_losses(self) -> pa.Table:
        """One row an evaluation's sequence."""
        return self.table("eval_losses")

    @property
    def probe(self) -> pa.Table:
        """One row a (probe, layer, head)."""
        return self.table("probe")

    @property
    def probe_layers(self) -> pa.Table:
        """One row a (probe, layer)."""
        return self.table("probe_layers")

    @property
    def shares(self) -> pa.Table:
        """One row a (probe, layer, upstream write)."""
        return self.table("shares")

    @property
    def maturity(self) -> pa.Table:
        """Cosines of key moments over exact lags."""
        return self.table("maturity")

    @property
    def settling(self) -> pa.Table:
        """Cosines of key moments to the final ones."""
        return self.table("settling")

    @property
    def reliance(self) -> pa.Table:
        """What the loss loses without a head's, a layer's or a half's attention."""
        return self.table("reliance")

    def analyze(self, start: int | None = None, end: int | None = None) -> dict[str, Any]:
        """Why attention grew, as ``growthpath analyze --json`` has it; undefined numbers are None."""
        return json.loads(self._native.analyze(start, end))

    def diagnose(
        self, *, sharpness: float | None = None, maturity: float | None = None, confidence: float | None = None
    ) -> dict[str, Any]:
        """Whether the upper half committed before the lower half had settled; ``["sentence"]`` says it in words."""
        return json.loads(self._native.diagnose(sharpness, maturity, confidence))

    def verify(self) -> dict[str, Any]:
        """Every identity and bound that the rows must satisfy; ``["ok"]`` says whether all hold."""
        report, ok = self._native.verify()
        return {"ok": ok, **json.loads(report)}

    def compare(self, other: "Run | str | os.PathLike", layers: str = "all", start: int | None = None, end: int | None = None) -> dict[str, Any]:
        """Why ``other``'s attention grew differently from this run's; ``layers``: all, upper or lower."""
        other = other if isinstance(other, Run) else Run(other)
        return json.loads(_native.compare(self._native, other._native, layers, start, end))

    def plot(
        self,
        name: str,
        *others: "Run | str | os.PathLike",
        width: str = "page",
        start: int | None = None,
        end: int | None = None,
    ) -> Picture:
        """A figure (see :func:`figures`) of this run, or of it and others; a notebook shows it."""
        runs = [self._native] + [(o if isinstance(o, Run) else Run(o))._native for o in others]
        return Picture(name, lambda kind: _native.draw(runs, name, kind, width, start, end))

    def __repr__(self) -> str:
        info = self.info
        return f"<growthpath run {info['label'] or self.path.name}: {info['layers']} layers x {info['heads']} heads, {self._native.rows('steps')} steps, {info['status']}>"


def open(path: str | os.PathLike) -> Run:
    """Open a run directory."""
    return Run(path)


def compare(a: "Run | str | os.PathLike", b: "Run | str | os.PathLike", **options: Any) -> dict[str, Any]:
    """:meth:`Run.compare` of two runs or paths."""
    return (a if isinstance(a, Run) else Run(a)).compare(b, **options)


def figures() -> dict[str, str]:
    """Names of figures and what they show."""
    return dict(_native.figures())


def tables() -> dict[str, list[str]]:
    """Names of tables and of their columns."""
    return {name: [c[0] for c in _native.columns(name)] for name in _native.table_names()}
