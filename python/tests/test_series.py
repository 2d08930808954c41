"""Series of checkpoints: any family, sorted by step, read by everything that reads runs."""

import subprocess
import sys

import numpy as np
import pytest

import growthpath
from growthpath.checkpoints import SeriesError, lags_of, ordered, step_of

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from conftest import tokens, verified  # noqa: E402
from families import build, loop  # noqa: E402

STEPS = (0, 2, 4, 6, 8)


def checkpoints(name, folder):
    """A model trained for a few steps, saved on the way."""
    model = build(name)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for at in range(STEPS[-1] + 1):
        if at in STEPS:
            model.save_pretrained(folder / f"step-{at}")
        loop(model, optimizer, [tokens(8, 32, 64, at)])
    return [folder / f"step-{at}" for at in STEPS]


@pytest.mark.parametrize("name", ["gpt_neox", "qwen2", "llama"])
def test_families(name, tmp_path):
    folders = checkpoints(name, tmp_path)
    np.save(tmp_path / "tokens.npy", tokens(4, 32, 64, 99))
    # The shell's order is not the order of steps.
    run = growthpath.series(reversed(folders), tmp_path / "tokens.npy", tmp_path / "run", label=name)
    verified(run.path)
    assert run.probe["step"].unique().to_pylist() == list(STEPS)
    assert run.evals["loss"].to_pylist()[-1] < run.evals["loss"].to_pylist()[0]
    assert set(run.maturity["lag"].unique().to_pylist()) == {2, 4} and run.reliance.num_rows > 0
    analysis = run.analyze()
    assert analysis["accounting"]["max_residual"] < 1e-10 and analysis["prediction"]["total"]["correlation"] > 0.9
    assert run.diagnose()["verdict"]
    assert run.plot("growth-shares").svg()


def test_against_the_recorder(tmp_path):
    """The same model probed while it trains gives the same rows, but for the step sizes that no checkpoint knows."""
    model = build("llama")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    probe = tokens(4, 32, 64, 99)
    rec = growthpath.record(model, optimizer, tmp_path / "live", probe_tokens=probe, steps=4, probe_every=2)
    saved = []
    for at in range(4):
        if at != 3:
            saved.append(tmp_path / f"step-{at}")
            model.save_pretrained(saved[-1])
        loop(model, optimizer, [tokens(8, 32, 64, at)])
    saved.append(tmp_path / "step-4")
    model.save_pretrained(saved[-1])
    rec.close()
    np.save(tmp_path / "tokens.npy", probe)
    series = growthpath.series(saved, tmp_path / "tokens.npy", tmp_path / "series")
    live, again = (growthpath.open(p).probe.to_pandas() for p in (tmp_path / "live", series.path))
    assert live["step"].tolist() == again["step"].tolist()
    for name in set(live) - {"eta", "u"}:
        assert np.allclose(live[name], again[name], rtol=1e-6, atol=1e-9, equal_nan=True), name


def test_the_command(tmp_path, binary):
    folders = checkpoints("llama", tmp_path)
    np.save(tmp_path / "tokens.npy", tokens(4, 32, 64, 99))
    run = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-m", "growthpath", "series", *folders, "--text", tmp_path / "tokens.npy", "--out", run], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "step 8" in done.stdout and "growthpath analyze" in done.stdout
    for verb in (["verify", run], ["analyze", run], ["compare", run, run], ["plot", run, "--out", tmp_path / "figures"]):
        done = subprocess.run([binary, *verb], capture_output=True, text=True)
        assert done.returncode == 0, (verb, done.stderr)


def test_steps_and_order(tmp_path):
    assert step_of("x/checkpoint-500")[1] == 500 and step_of("x/step_0010")[1] == 10 and step_of("x/any@7")[1] == 7
    assert lags_of([0, 1, 2, 4, 6, 8])[1] == 2 and lags_of([0, 100])[0] == [100]
    with pytest.raises(SeriesError, match="its name has no step"):
        step_of("x/final")
    for name in ("step-1", "step-2"):
        (tmp_path / name).mkdir()
    with pytest.raises(SeriesError, match="no config.json"):
        ordered([tmp_path / "step-1", tmp_path / "step-2"])
    for name in ("step-1", "step-2"):
        (tmp_path / name / "config.json").write_text("{}")
    with pytest.raises(SeriesError, match="both step 1"):
        ordered([tmp_path / "step-1", f"{tmp_path / 'step-2'}@1"])
    with pytest.raises(SeriesError, match="at least two"):
        ordered([tmp_path / "step-1"])
    assert [s for s, _ in ordered([tmp_path / "step-2", tmp_path / "step-1"])] == [1, 2]


def test_another_model_is_refused(tmp_path):
    build("llama").save_pretrained(tmp_path / "step-0")
    build("qwen2").save_pretrained(tmp_path / "step-1")
    np.save(tmp_path / "tokens.npy", tokens(2, 16, 64, 9))
    with pytest.raises(SeriesError, match="a series is of one model"):
        growthpath.series([tmp_path / "step-0", tmp_path / "step-1"], tmp_path / "tokens.npy", tmp_path / "run")
    done = subprocess.run(
        [sys.executable, "-m", "growthpath", "series", tmp_path / "step-0", tmp_path / "nowhere-1", "--text", "x", "--out", tmp_path / "r"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and "no such folder" in done.stderr
