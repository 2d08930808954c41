"""Accounting by running attention modules again: the same numbers as from the weights wherever both can be had."""

import numpy as np
import pytest

import growthpath

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from conftest import tokens, verified  # noqa: E402
from families import build, loop  # noqa: E402

STATE = ("spread", "entropy", "sharpness", "top1", "s_max")
INTERVAL = ("spread_prev", "gamma", "gamma_q", "gamma_k", "gamma_f", "cos_theta", "ds_w", "gamma_w_start", "eta")


def record(name, path, **change):
    model = build(name)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    rec = growthpath.record(model, optimizer, path, steps=3, probe_every=1, **change)
    for at in range(3):
        loop(model, optimizer, [tokens(4, 32, 64, at)])
    rec.close()
    return growthpath.open(path)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox", "phi3"])
@pytest.mark.filterwarnings("ignore:growthpath")
def test_the_same_as_from_the_weights(name, tmp_path, monkeypatch):
    """Grouped keys, biases in one Conv1D, interleaved heads with partly rotary ones, one fused matrix."""
    from growthpath.recording.probes import Prober

    probe = tokens(2, 32, 64, 9)
    exact = record(name, tmp_path / "exact", probe_tokens=probe)
    monkeypatch.setattr(Prober, "_disagreement", lambda self, capture: "said to be so")
    measured = record(name, tmp_path / "measured", probe_tokens=probe)
    verified(measured.path)
    assert "said to be so" in measured.info["extra"]["coverage"]["probes"]
    a, b = (r.probe.to_pandas() for r in (exact, measured))
    assert a[["step", "layer", "head", "prev_step"]].equals(b[["step", "layer", "head", "prev_step"]])
    for column in STATE + INTERVAL:
        # float32 logits against float64 ones, in ln and in units of the logits.
        assert np.allclose(a[column], b[column], rtol=1e-4, atol=2e-5, equal_nan=True), column
    assert b[["a_hat", "gamma_q_hat", "e", "bound_tight"]].isna().all(axis=None)
    for table in ("maturity", "settling"):
        x, y = (r.table(table).to_pandas() for r in (exact, measured))
        # With biases the exact moments have a constant column more, which adds nothing to the keys' moment.
        assert len(x) == len(y) and np.allclose(x.iloc[:, -1], y.iloc[:, -1], rtol=1e-6), table


def test_norms_and_caps_are_part_of_the_corners(tmp_path):
    """Scaling W_Q under a norm of queries changes no logit: no growth, whoever is asked; scaling the norm's gain does."""
    from growthpath.recording import measured, resolve
    from growthpath.recording.capture import Capture, quiet

    model = build("qwen3")
    structure = resolve(model)
    ids = torch.as_tensor(tokens(2, 32, 64, 9))[:, :-1]

    def taken():
        capture = Capture(structure)
        with quiet(model), capture.installed():
            model(ids)
            return measured.take(structure.layers[0], capture.seen[0])

    layer = structure.layers[0]
    with quiet(model):
        old = taken()
        measured.state(layer, old)
        with torch.no_grad():
            layer.query.parameter().mul_(2.0)
        same = taken()
        found = measured.interval(layer, old, same)
        # The norm's epsilon is all that knows of the factor.
        assert max(np.abs(found[n]).max() for n in ("gamma_q", "gamma_k", "gamma_f")) < 1e-3
        with torch.no_grad():
            layer.query_norm.weight.mul_(2.0)
        found = measured.interval(layer, same, taken())
    assert np.allclose(found["gamma_q"], np.log(2.0), atol=1e-5) and np.abs(found["gamma_k"]).max() < 1e-5
    assert np.abs(found["gamma_f"]).max() < 1e-5 and np.allclose(found["cos_theta"], 1.0)


def test_what_cannot_be_measured_is_said(tmp_path):
    """A matrix beside W_Q and W_K that moves the logits: the corner that was seen is not found again."""
    from growthpath.recording.measured import Measured
    from models import NanoGPT

    class Mixed(torch.nn.Module):
        def __init__(self, own):
            super().__init__()
            self.c_attn, self.c_proj, self.n_head = own.c_attn, own.c_proj, own.n_head
            self.mix = torch.nn.Parameter(torch.eye(32) + 0.1 * torch.randn(32, 32))

        def forward(self, x):
            b, t, d = x.shape
            q, k, v = (y.view(b, t, self.n_head, -1).transpose(1, 2) for y in self.c_attn(x @ self.mix).split(d, dim=2))
            y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.c_proj(y.transpose(1, 2).reshape(b, t, d))

    torch.manual_seed(0)
    model = NanoGPT()
    model.h[1].attn = Mixed(model.h[1].attn)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    with pytest.warns(UserWarning, match="do not give its logits|hang on parameters"):
        rec = growthpath.record(model, optimizer, tmp_path / "run", steps=2, probe_every=1, probe_tokens=tokens(2, 32, 64, 9))
        for at in range(2):
            batch = torch.as_tensor(tokens(4, 32, 64, at))
            model(batch[:, :-1], batch[:, 1:])[1].backward()
            optimizer.step()
            optimizer.zero_grad()
        rec.close()
    assert isinstance(rec.prober.measured, Measured)
    status = growthpath.open(tmp_path / "run").info["extra"]["coverage"]["probes"]
    assert status.startswith("none: h.1.attn") and "hang on parameters beside W_Q, W_K" in status
