"""DDP and FSDP2 on two processes with gloo: rank 0 writes what one process would have written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import growthpath

torch = pytest.importorskip("torch")
from conftest import verified  # noqa: E402
from test_recorder import same  # noqa: E402

SCRIPT = Path(__file__).with_name("distributed.py")


def run(kind, out):
    launch = [sys.executable, SCRIPT] if kind == "single" else [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", SCRIPT]  # fmt: skip
    done = subprocess.run([*launch, out, kind], capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    return growthpath.open(out)


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    return run("single", tmp_path_factory.mktemp("single") / "run")


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_as_one_process(kind, single, tmp_path):
    several = run(kind, tmp_path / "run")
    verified(several.path)
    for table in ("heads", "writes", "steps", "evals", "probe", "shares"):
        # Gradients are summed in another order: rounding, which AdamW's first steps pass on.
        same(single, several, table, 1e-3, leave={"max_distance"})
