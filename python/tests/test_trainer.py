"""transformers' Trainer on a Llama with grouped keys, recorded by the callback."""

import numpy as np
import pytest

import growthpath

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")
from conftest import tokens, verified  # noqa: E402
from families import build  # noqa: E402


class Rows(torch.utils.data.Dataset):
    def __init__(self, count):
        self.rows = [torch.as_tensor(r) for r in tokens(count, 32, 64, 3)]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return {"input_ids": self.rows[i], "labels": self.rows[i]}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_trainer(tmp_path, checkpointing):
    from growthpath.trainer import RecorderCallback

    model = build("llama")
    args = transformers.TrainingArguments(
        output_dir=str(tmp_path / "hf"), max_steps=6, per_device_train_batch_size=4, gradient_accumulation_steps=2, learning_rate=3e-3,
        max_grad_norm=0.5, report_to=[], save_strategy="no", logging_steps=1, use_cpu=True, disable_tqdm=True, seed=7,
        gradient_checkpointing=checkpointing,
    )  # fmt: skip
    callback = RecorderCallback(tmp_path / "run", probe_tokens=tokens(2, 32, 64, 9), probe_every=3, label="trainer")
    trainer = transformers.Trainer(model, args, train_dataset=Rows(48), callbacks=[callback])
    trainer.train()
    run = growthpath.open(tmp_path / "run")
    info = run.info
    assert info["status"] == "complete" and info["steps_planned"] == 6 and info["seeds"] == {"model": 7}
    steps = run.steps.to_pydict()
    assert steps["step"] == list(range(6)) and steps["tokens"][-1] == 6 * 8 * 33
    logged = [h["loss"] for h in trainer.state.log_history if "loss" in h]
    assert np.allclose(steps["loss"], logged, rtol=1e-3)
    norms = [float(h["grad_norm"]) for h in trainer.state.log_history if "grad_norm" in h]
    assert np.allclose(steps["grad_norm"], norms, rtol=1e-3)
    assert max(steps["clip_scale"]) <= 1 and min(steps["clip_scale"]) < 1
    assert info["extra"]["coverage"]["attention_seen"] == 1.0 and not info["extra"]["coverage"]["problems"]
    verified(tmp_path / "run")
