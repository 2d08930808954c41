"""Rows handed over as columns are checked by the trace crate."""

import json

import numpy as np
import pytest

import growthpath
from growthpath import _native


def writer(path):
    return _native.Writer(str(path), json.dumps({"layers": 1, "heads": 1, "steps_planned": 2, "label": "w"}))


def row(**other):
    row = {"step": np.array([0], np.uint32), "tokens": np.array([8], np.uint64)}
    row |= {n: np.array([1.0], np.float32) for n in ("loss", "lr", "qk_mult", "grad_norm", "clip_scale", "step_ms")}
    return row | other


def test_rows_come_back(tmp_path):
    w = writer(tmp_path / "run")
    w.append("steps", row())
    w.append("eval_losses", {"step": np.array([1, 1], np.uint32), "sequence": np.array([0, 1], np.uint32), "loss": np.array([2.0, 3.0])})
    w.update(json.dumps({"extra": {"coverage": {"steps": 1}}}))
    w.finish("complete")
    run = growthpath.open(tmp_path / "run")
    assert run.eval_losses["loss"].to_pylist() == [2.0, 3.0]
    assert run.info["extra"]["coverage"] == {"steps": 1} and run.info["status"] == "complete"
    with pytest.raises(ValueError, match="closed"):
        w.append("steps", row())


@pytest.mark.parametrize(
    "change, message",
    [
        ({"loss": np.array([1.0])}, "column loss"),
        ({"losses": np.array([1.0], np.float32)}, "no column losses"),
        ({"loss": np.array([1.0, 2.0], np.float32)}, "table steps"),
        ({"loss": [1.0]}, "column loss"),
    ],
)
def test_wrong_columns_are_named(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        writer(tmp_path / "run").append("steps", row(**change))


def test_missing_columns_and_order(tmp_path):
    w = writer(tmp_path / "run")
    short = row()
    del short["loss"]
    with pytest.raises(ValueError, match="column loss is missing"):
        w.append("steps", short)
    w.append("steps", row())
    with pytest.raises(ValueError, match="does not come after"):
        w.append("steps", row())
    with pytest.raises(ValueError, match="already holds a run|written by another"):
        writer(tmp_path / "run")


def test_optional_columns_may_be_left_out(tmp_path):
    w = writer(tmp_path / "run")
    names = [c[0] for c in _native.columns("heads") if c[2] == "number"]
    n = lambda name: np.array([0.0], np.float32)
    keys = {"step": np.array([0], np.uint32), "layer": np.array([0], np.uint16), "head": np.array([0], np.uint16)}
    w.append("heads", keys | {name: n(name) for name in names})
    w.finish("complete")
    assert np.isnan(growthpath.open(tmp_path / "run").heads["spread"].to_numpy()).all()
