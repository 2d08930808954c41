"""Loops of every kind leave the same rows; what cannot be seen is said."""

import warnings

import numpy as np
import pytest

import growthpath

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402
from conftest import tokens, verified  # noqa: E402
from models import NanoGPT, loop  # noqa: E402

STEPS = 4
BATCHES = [tokens(8, 32, 64, i) for i in range(STEPS)]
PROBE = tokens(4, 32, 64, 99)


def train(path, model=None, accumulate=1, wrap=lambda m: m, lr=3e-3, **options):
    torch.manual_seed(0)
    model = NanoGPT(**(model or {}))
    called = wrap(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    rec = growthpath.record(called, optimizer, path, steps=STEPS, **({"probe_tokens": PROBE, "probe_every": 2} | options))
    loop(called, optimizer, BATCHES, accumulate=accumulate)
    rec.close()
    return growthpath.open(path)


def columns(table):
    return {n: c.to_numpy().astype(float) for n, c in zip(table.column_names, table.columns)}


def same(a, b, table, tolerance, leave=()):
    x, y = columns(a.table(table)), columns(b.table(table))
    for name in x.keys() - {"step_ms", *leave}:
        # Inner products cancel and cosines are of size one: by the column's largest value.
        scale = np.nanmax(np.abs(x[name])) if np.isfinite(x[name]).any() else 1.0
        assert np.allclose(x[name], y[name], rtol=0, atol=tolerance * max(scale, 1e-30), equal_nan=True), (table, name)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return train(tmp_path_factory.mktemp("plain") / "run")


def test_a_plain_loop(plain):
    verified(plain.path)
    assert plain.rows()["heads"] == STEPS * 16 and plain.rows()["writes"] == STEPS * 8
    assert plain.info["extra"]["coverage"]["problems"] == {}
    assert plain.steps["tokens"].to_pylist() == [256, 512, 768, 1024]
    assert set(plain.probe["step"].unique().to_pylist()) == {0, 1, 2, 4}
    assert plain.reliance.num_rows > 0 and plain.maturity.num_rows > 0 and plain.settling.num_rows > 0
    assert plain.analyze()["prediction"]["query"]["correlation"] > 0.99


def test_the_optimizer_is_watched_not_changed(plain):
    """The loop's own losses are those of a loop without a recorder, bit for bit."""
    torch.manual_seed(0)
    model = NanoGPT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    model.train()
    for batch in BATCHES:
        batch = torch.as_tensor(batch)
        loss = model(batch[:, :-1], batch[:, 1:])[1]
        loss.backward()
        losses.append(np.float32(loss.item()))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    assert plain.steps["loss"].to_pylist() == losses


@pytest.mark.parametrize("kind", ["accumulated", "reentrant", "not reentrant"])
def test_one_row_a_step(plain, tmp_path, kind):
    """Micro-batches add up, and a checkpoint's second forward is not counted twice."""
    how = {"accumulated": dict(accumulate=4), "reentrant": dict(model=dict(checkpoint="reentrant")),
           "not reentrant": dict(model=dict(checkpoint="other"))}[kind]  # fmt: skip
    run = train(tmp_path / "run", **how)
    verified(run.path)
    for table in ("heads", "writes", "steps", "evals"):
        same(plain, run, table, 1e-4, leave={"max_distance"})


@pytest.mark.parametrize("unscaled", [True, False])
def test_gradient_scaler(plain, tmp_path, unscaled):
    """Columns are of the unscaled gradients, whether the loop unscales for clipping or not; skipped steps leave no row."""
    runs = []
    for scale in (None, 2.0**10):
        torch.manual_seed(0)
        model = NanoGPT()
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale or 1.0, enabled=scale is not None)
        rec = growthpath.record(model, optimizer, tmp_path / f"run{scale}", steps=STEPS)
        for at, batch in enumerate(BATCHES):
            batch = torch.as_tensor(batch)
            loss = model(batch[:, :-1], batch[:, 1:])[1]
            scaler.scale(loss).backward()
            if scale is not None and at == 2:
                # An overflow: the scaler takes no step; the same batch is tried again.
                model.wte.weight.grad[0, 0] = float("inf")
                scaler.step(optimizer)
                scaler.update(2.0**9)
                optimizer.zero_grad()
                loss = model(batch[:, :-1], batch[:, 1:])[1]
                scaler.scale(loss).backward()
            if unscaled:
                scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
        rec.close()
        verified(tmp_path / f"run{scale}")
        runs.append(growthpath.open(tmp_path / f"run{scale}"))
    for table in ("heads", "writes", "steps"):
        same(*runs, table, 1e-4, leave={"max_distance"})
    assert runs[1].info["extra"]["coverage"]["skipped_by_gradient_scaler"] == 1


def test_a_sample_of_sequences(plain, tmp_path):
    """Weights, gradients and (2.1) are those of the whole batch; logits and writes are of the sample."""
    run = train(tmp_path / "run", sample=2)
    verified(run.path)
    a, b = columns(plain.heads), columns(run.heads)
    assert np.allclose(a["sgs"], b["sgs"], rtol=1e-5, atol=1e-9) and (a["g_q2"] == b["g_q2"]).all()
    assert np.isnan(b["gs2"]).all() and not np.isnan(b["spread"]).any()
    # Two sequences of the first batch, by hand.
    two = train(tmp_path / "two", sample=2, every=STEPS)
    assert two.rows()["heads"] == 16 and two.rows()["steps"] == STEPS


def test_compiled(plain, tmp_path):
    """Recorded steps run as written, the others compiled; both see the same numbers."""
    run = train(tmp_path / "run", wrap=torch.compile, every=2)
    verified(run.path)
    a, b = columns(plain.heads), columns(run.heads)
    pick = np.isin(a["step"], [0, 2])
    assert b["step"].tolist() == a["step"][pick].tolist()
    assert np.allclose(a["spread"][pick], b["spread"], rtol=1e-4) and np.allclose(a["g_q2"][pick], b["g_q2"], rtol=1e-3)


def test_attention_that_is_written_out(tmp_path):
    """A softmax over scores is attention as well."""

    class Eager(torch.nn.Module):
        def __init__(self, own):
            super().__init__()
            self.c_attn, self.c_proj, self.n_head = own.c_attn, own.c_proj, own.n_head

        def forward(self, x):
            b, t, d = x.shape
            q, k, v = (y.view(b, t, self.n_head, -1).transpose(1, 2) for y in self.c_attn(x).split(d, dim=2))
            s = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
            s = s.masked_fill(~torch.ones(t, t, dtype=torch.bool).tril(), float("-inf"))
            return self.c_proj((F.softmax(s, dim=-1) @ v).transpose(1, 2).reshape(b, t, d))

    def eager(model):
        for block in model.h:
            block.attn = Eager(block.attn)
        return model

    torch.manual_seed(0)
    fused = train(tmp_path / "fused", probe_tokens=None, probe_every=None)
    torch.manual_seed(0)
    model = eager(NanoGPT())
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    with pytest.warns(UserWarning, match="written out"):
        rec = growthpath.record(model, optimizer, tmp_path / "eager", steps=STEPS)
        loop(model, optimizer, BATCHES)
        rec.close()
    run = growthpath.open(tmp_path / "eager")
    verified(run.path)
    # The gradient of b_K is nothing but rounding, and AdamW makes steps of it: wd_k and its like differ by a few 1e-4.
    same(fused, run, "heads", 1e-3, leave={"q_rms", "k_rms", "qk_cos", "max_distance"})


def test_a_mapping_by_hand(plain, tmp_path):
    rows = [dict(attention=f"h.{i}.attn", query=f"h.{i}.attn.c_attn", key=f"h.{i}.attn.c_attn", heads=4, block=f"h.{i}",
                 norm=f"h.{i}.ln_1", down=f"h.{i}.mlp.c_proj") for i in range(4)]  # fmt: skip
    run = train(tmp_path / "run", mapping=rows)
    for table in ("heads", "writes", "probe", "shares"):
        same(plain, run, table, 1e-6)
    rows[0]["norm"] = "h.0.ln_9"
    with pytest.raises(growthpath.recording.UnknownModel, match="no module `h.0.ln_9`"):
        train(tmp_path / "bad", mapping=rows)


def test_nothing_recorded_is_an_error(tmp_path):
    model, other = NanoGPT(), NanoGPT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    rec = growthpath.record(other, optimizer, tmp_path / "run", steps=1)
    with pytest.raises(growthpath.recording.RecorderError, match="nothing was recorded"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loop(model, optimizer, BATCHES[:1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rec.close("interrupted")
    assert growthpath.open(tmp_path / "run").info["status"] == "interrupted"


def test_what_is_clipped_entry_by_entry_is_said(tmp_path):
    torch.manual_seed(0)
    model = NanoGPT()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    rec = growthpath.record(model, optimizer, tmp_path / "run", steps=1)
    batch = torch.as_tensor(BATCHES[0])
    model(batch[:, :-1], batch[:, 1:])[1].backward()
    with pytest.warns(UserWarning, match="entry by entry"):
        torch.nn.utils.clip_grad_value_(model.parameters(), 1e-3)
    optimizer.step()
    rec.close()
    assert any("entry by entry" in p for p in growthpath.open(tmp_path / "run").info["extra"]["coverage"]["problems"])


def test_hooks_go_with_the_recorder(tmp_path):
    backward, clip = torch.autograd.backward, torch.nn.utils.clip_grad._clip_grads_with_norm_
    train(tmp_path / "run")
    assert torch.autograd.backward is backward and torch.nn.utils.clip_grad._clip_grads_with_norm_ is clip
    torch.manual_seed(0)
    model = NanoGPT()
    rec = growthpath.record(model, torch.optim.SGD(model.parameters(), lr=0.1), tmp_path / "two")
    rec.close()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_bad_arguments_are_named(tmp_path):
    model = NanoGPT()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    make = lambda **o: growthpath.record(model, optimizer, tmp_path / "run", **o)
    with pytest.raises(ValueError, match=r"probe_tokens: expected whole numbers of shape \[sequences, length \+ 1\]"):
        make(probe_tokens=np.zeros((2, 8)))
    with pytest.raises(ValueError, match="every must be at least 1"):
        make(every=0)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        make(steps=0)
    with pytest.raises(growthpath.recording.UnknownModel, match="no attention that is known"):
        growthpath.record(torch.nn.Linear(2, 2), optimizer, tmp_path / "run")
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_growth_is_measured_where_the_model_is_not_what_it_looks_like(tmp_path):
    """The guard: logits made from W_Q and W_K must be those that the model computes."""

    class Odd(torch.nn.Module):
        def __init__(self, own):
            super().__init__()
            self.c_attn, self.c_proj, self.n_head = own.c_attn, own.c_proj, own.n_head

        def forward(self, x):
            b, t, d = x.shape
            q, k, v = (y.view(b, t, self.n_head, -1).transpose(1, 2) for y in self.c_attn(x).split(d, dim=2))
            y = F.scaled_dot_product_attention(torch.tanh(q), k, v, is_causal=True)
            return self.c_proj(y.transpose(1, 2).reshape(b, t, d))

    torch.manual_seed(0)
    model = NanoGPT()
    model.h[1].attn = Odd(model.h[1].attn)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.warns(UserWarning, match="do not give its logits"):
        growthpath.record(model, optimizer, tmp_path / "run", probe_tokens=PROBE).close()
    run = growthpath.open(tmp_path / "run")
    probe = run.probe.to_pandas()
    assert len(probe) == 16 and probe["spread"].gt(0).all() and probe["a_hat"].isna().all()
    assert run.info["extra"]["coverage"]["probes"].startswith("measured, not predicted: h.1.attn")


def test_a_diverged_run_is_recorded_to_its_end(tmp_path):
    """The recorder does not stop a loop that its owner lets run on."""
    model = NanoGPT()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rec = growthpath.record(model, optimizer, tmp_path / "run", probe_tokens=PROBE, steps=STEPS, probe_every=1)
    with torch.no_grad():
        model.h[0].attn.c_attn.weight[0, 0] = float("nan")
    with pytest.warns(UserWarning, match="training diverged"):
        loop(model, optimizer, BATCHES)
        rec.close("diverged")
    run = growthpath.open(tmp_path / "run")
    assert run.info["status"] == "diverged" and run.rows()["heads"] == STEPS * 16
    assert run.probe["step"].unique().to_pylist() == [0]
