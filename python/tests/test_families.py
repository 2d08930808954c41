"""Every family that a resolver knows: rows, identities, probes, or the reason why not."""

import numpy as np
import pytest

import growthpath

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from conftest import tokens, verified  # noqa: E402
from families import FAMILIES, NOT_BILINEAR, build, loop  # noqa: E402


def spreads(model):
    """Spreads of the logits that the model itself computes on the probe tokens, layer by layer, in plain float64."""
    from growthpath.recording import resolve
    from growthpath.recording.capture import Capture, quiet

    capture = Capture(resolve(model))
    with quiet(model), capture.installed():
        model(torch.as_tensor(tokens(2, 32, 64, 9))[:, :-1])
    causal = torch.ones(32, 32, dtype=torch.float64).tril()
    out = []
    for seen in capture.seen:
        s = seen.calls[0].logits(0, 2).double() * causal
        centred = (s - s.sum(-1, keepdim=True) / causal.sum(-1, keepdim=True)) * causal
        out.append((centred.square().sum((0, 2, 3)) / (2 * causal.sum())).sqrt())
    return torch.cat(out).numpy()


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.filterwarnings("ignore:growthpath")
def test_family(name, tmp_path):
    model = build(name)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    rec = growthpath.record(model, optimizer, tmp_path / "run", probe_tokens=tokens(2, 32, 64, 9), steps=3, probe_every=1, label=name)
    loop(model, optimizer, [tokens(4, 32, 64, i) for i in range(3)])
    rec.close()
    verified(tmp_path / "run")
    run = growthpath.open(tmp_path / "run")
    coverage = run.info["extra"]["coverage"]
    assert coverage["attention_seen"] == 1.0 and coverage["writes_recorded"] == 3
    assert not np.isnan(run.heads["spread"].to_numpy()).any()
    assert run.evals.num_rows == 4 and run.reliance.num_rows > 0 and run.maturity.num_rows > 0
    if name in NOT_BILINEAR:
        assert coverage["probes"].startswith("measured, not predicted") and NOT_BILINEAR[name] in coverage["probes"]
        assert coverage["shares"].startswith("none")
        accounting = run.analyze()["accounting"]
        assert accounting["intervals"] == 3 * 3 * 4 and accounting["max_residual"] < 1e-12
        assert run.probe.to_pandas()["a_hat"].isna().all() and run.diagnose()["verdict"]
        return
    assert coverage["probes"] == coverage["shares"] == "on"
    at_start = run.probe.to_pandas().query("step == 0")["spread"].to_numpy()
    assert np.allclose(at_start, spreads(build(name)), rtol=1e-4)
    prediction = run.analyze()["prediction"]
    # Two short sequences and rotary biases leave the prediction some error, which is its own to report.
    assert prediction["query"]["correlation"] > 0.9, prediction


def test_unknown_layouts_are_refused_by_name():
    class FalconAttention(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.query_key_value = torch.nn.Linear(8, 24)

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attn = FalconAttention()

    with pytest.raises(growthpath.recording.UnknownModel, match="FalconAttention has a query_key_value whose layout"):
        growthpath.recording.resolve(Model())


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.filterwarnings("ignore:growthpath")
def test_multi_head_attention_of_pytorch(causal, tmp_path):
    from torch import nn

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.out = nn.Embedding(64, 32), nn.Linear(32, 64)
            layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
            self.layers = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)

        def forward(self, x):
            mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1]) if causal else None
            return self.out(self.layers(self.embedding(x), mask=mask, is_causal=causal))

    torch.manual_seed(0)
    model = Encoder()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rec = growthpath.record(model, optimizer, tmp_path / "run", probe_tokens=tokens(2, 32), steps=2, probe_every=1)
    for i in range(2):
        batch = torch.as_tensor(tokens(4, 32, 64, i))
        nn.functional.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    rec.close()
    verified(tmp_path / "run")
    run = growthpath.open(tmp_path / "run")
    assert (run.probe.num_rows > 0) == causal
    assert causal or "not causal" in run.info["extra"]["coverage"]["probes"]


@pytest.mark.filterwarnings("ignore:growthpath")
def test_cross_attention_of_pytorch(tmp_path):
    """Keys of another sequence, of another length: rows like any other layer's, but no writes, no distances and no probes."""
    from torch import nn

    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.out = nn.Embedding(64, 32), nn.Linear(32, 64)
            layer = nn.TransformerDecoderLayer(32, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
            self.layers = nn.TransformerDecoder(layer, 2)

        def forward(self, x):
            mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
            return self.out(self.layers(self.embedding(x), self.embedding(x[:, :20]), tgt_mask=mask, tgt_is_causal=True))

    torch.manual_seed(0)
    model = Decoder()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rec = growthpath.record(model, optimizer, tmp_path / "run", probe_tokens=tokens(2, 32), steps=2, probe_every=1)
    for i in range(2):
        batch = torch.as_tensor(tokens(4, 32, 64, i))
        nn.functional.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    rec.close()
    verified(tmp_path / "run")
    run = growthpath.open(tmp_path / "run")
    heads = run.heads.to_pandas()
    assert len(heads) == 2 * 4 * 4 and heads["spread"].gt(0).all()
    # Layers 1 and 3 are the cross attention of their blocks.
    cross = heads["layer"].isin([1, 3])
    assert heads["max_distance"][cross].isna().all() and heads["max_distance"][~cross].notna().all()
    assert run.rows()["writes"] == 0 and run.probe.num_rows == 0
    problems = " ".join(run.info["extra"]["coverage"]["problems"])
    assert "share its block" in problems and "not causal self-attention" in problems


def test_fused_qkv_of_vision_models(tmp_path):
    """timm's layout: one `qkv` of query, key and value, not causal, no tokens but patches."""
    from torch import nn

    class Attention(nn.Module):
        def __init__(self, dim, heads):
            super().__init__()
            self.num_heads, self.qkv, self.proj = heads, nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

        def forward(self, x):
            b, n, c = x.shape
            q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
            return self.proj(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c))

    class Block(nn.Module):
        def __init__(self, dim, heads):
            super().__init__()
            self.norm1, self.attn, self.norm2 = nn.LayerNorm(dim), Attention(dim, heads), nn.LayerNorm(dim)
            self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

        def forward(self, x):
            x = x + self.attn(self.norm1(x))
            return x + self.mlp(self.norm2(x))

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 16), Block(16, 2), Block(16, 2), nn.Linear(16, 5))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rec = growthpath.record(model, optimizer, tmp_path / "run", steps=2)
    for i in range(2):
        nn.functional.cross_entropy(model(torch.randn(4, 9, 12)).mean(1), torch.arange(4)).backward()
        optimizer.step()
        optimizer.zero_grad()
    rec.close()
    verified(tmp_path / "run")
    run = growthpath.open(tmp_path / "run")
    assert run.info["config"]["model"]["family"] == "timm" and run.rows()["heads"] == 2 * 2 * 2
