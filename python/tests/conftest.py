"""Small models and loops that several tests share."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def binary() -> Path:
    """The `growthpath` program; tests that want it are skipped where it is not built."""
    path = Path(os.environ.get("GROWTHPATH_BINARY", ROOT / "target/release/growthpath"))
    if not path.is_file():
        pytest.skip(f"{path} is not built (GROWTHPATH_BINARY names another)")
    return path


def train_reference(binary: Path, run: Path, rate: str) -> None:
    """A nano GPT trained by growthpath itself, with a checkpoint at every probe."""
    subprocess.run(
        [binary, "train", "--preset", "gpt", "--size", "nano", "--steps", "20", "--probe-every", "5", "--checkpoint-probes",
         "--lr", rate, "--eval-sequences", "4", "--reliance-sequences", "4", "--quiet", "--out", run],
        check=True, capture_output=True,
    )  # fmt: skip


@pytest.fixture(scope="session")
def reference(binary, tmp_path_factory) -> Path:
    """At a tenth of the usual learning rate: at 3e-3 training passes rounding on, see test_parity."""
    run = tmp_path_factory.mktemp("reference") / "gpt"
    train_reference(binary, run, "3e-4")
    return run


def tokens(sequences: int = 4, length: int = 32, vocabulary: int = 64, seed: int = 0) -> np.ndarray:
    """Token ids with something to learn: each mostly follows from the one before."""
    rng = np.random.default_rng(seed)
    step = np.random.default_rng(1).integers(1, vocabulary, vocabulary)
    out = np.empty((sequences, length + 1), np.int64)
    out[:, 0] = rng.integers(0, vocabulary, sequences)
    for t in range(length):
        jump = rng.random(sequences) < 0.2
        out[:, t + 1] = np.where(jump, rng.integers(0, vocabulary, sequences), (out[:, t] + step[out[:, t]]) % vocabulary)
    return out


def verified(path) -> None:
    """Every identity and bound holds in the run's rows."""
    import growthpath

    report = growthpath.open(path).verify()
    bad = [c for c in report["checks"] if c["violations"]]
    assert report["ok"], (bad, report["integrity"]["problems"], report["unread"])
