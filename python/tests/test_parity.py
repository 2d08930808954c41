"""growthpath's own run against the same model stepped in PyTorch with the recorder: same weights, data and optimizer."""

import json
import math
import subprocess

import numpy as np
import pytest

import growthpath

torch = pytest.importorskip("torch")
from conftest import train_reference  # noqa: E402
from models import NanoGPT, loop  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402

STEPS = 20


def batches(binary, folder):
    """The tokens of every step, from one dump a step: the data's order depends on seed and step alone."""
    out = []
    for step in range(STEPS):
        run = folder / f"dump-{step}"
        subprocess.run(
            [binary, "train", "--preset", "gpt", "--size", "nano", "--steps", str(step + 1), "--warmup", "0", "--probe-every", "0",
             "--eval-sequences", "1", "--telemetry", "off", "--dump-step", str(step), "--quiet", "--out", run],
            check=True, capture_output=True,
        )  # fmt: skip
        out.append(load_file(run / f"dumps/step-{step}.safetensors")["tokens"].astype(np.int64))
    return out


def from_checkpoint(folder):
    """The model of a checkpoint as a nanoGPT."""
    config = json.loads((folder / "config.json").read_text())["growthpath"]
    arrays = load_file(folder / "model.safetensors")
    model = NanoGPT(config["vocab"], config["context"], config["width"], config["layers"], config["heads"])
    own = {}
    for name, value in arrays.items():
        name = name.removeprefix("transformer.")
        # GPT-2 stores projections input-major.
        own[name] = torch.from_numpy(value.T.copy() if ".c_" in name and name.endswith("weight") else value.copy())
    missing, unexpected = model.load_state_dict(own, strict=False)
    assert not missing, missing
    assert set(unexpected) <= {"lm_head.weight"}
    return model


def schedule(config):
    s, steps = config["schedule"], config["steps"]

    def rate(at):
        if at < s["warmup"]:
            return s["lr"] * (at + 1) / s["warmup"]
        done = (at - s["warmup"]) / max(1, steps - s["warmup"])
        low = s["final_fraction"]
        return s["lr"] * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * done)))

    return rate


def stepped(reference, path, data, change=None, **options):
    """The reference's model trained by PyTorch under the recorder; ``change``: applied to every parameter first."""
    config = growthpath.open(reference).info["config"]
    model = from_checkpoint(reference / "checkpoints/step-0")
    if change is not None:
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(change(p))
    o, decay = config["optimizer"], config["weight_decay"]
    groups = [
        {"params": [p for p in model.parameters() if p.dim() == 2], "weight_decay": decay},
        {"params": [p for p in model.parameters() if p.dim() != 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=(o["beta1"], o["beta2"]), eps=o["eps"])
    rec = growthpath.record(model, optimizer, path, steps=STEPS, **options)
    loop(model, optimizer, data, clip=config["clip"], schedule=schedule(config))
    rec.close()
    return path


@pytest.fixture(scope="module")
def data(binary, tmp_path_factory):
    return batches(binary, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def recorded(reference, data, tmp_path_factory):
    stored = load_file(reference / "tokens.safetensors")
    probe = np.concatenate([stored["probe.inputs"], stored["probe.targets"][:, -1:]], 1).astype(np.int64)
    return stepped(reference, tmp_path_factory.mktemp("parity") / "torch", data, probe_tokens=probe, probe_every=5, reliance_every=STEPS, label="torch")


def frame(run, table):
    return {n: c.to_numpy().astype(float) for n, c in zip(table.column_names, table.columns)}


# Inner products cancel: their error is measured against the largest that they can be.
PRODUCTS = {
    "wg_q": ("w_q2", "g_q2"), "wg_k": ("w_k2", "g_k2"), "wd_q": ("w_q2", "d_q2"), "wd_k": ("w_k2", "d_k2"),
    "gd_q": ("g_q2", "d_q2"), "gd_k": ("g_k2", "d_k2"), "sgs": ("w_q2", "g_q2"),
}  # fmt: skip
SPECTRA = ("dm_f", "dm_top", "dm_entropy")
RECORDED = {
    "step", "layer", "head", "g_q2", "g_k2", "g_qmax", "g_kmax", "w_q2", "w_k2", "d_q2", "d_k2", "wg_q", "wg_k", "wd_q", "wd_k",
    "gd_q", "gd_k", "lr", "s_max", "s_min", "s_ms", "spread", "entropy", "sharpness", "top1", "max_distance", "q_rms", "k_rms",
    "qk_cos", "gs2", "sgs", "lse_gap", "pressure_q", "pressure_k",
}  # fmt: skip


def by_layer(values, step, layer):
    """RMS of a column over the heads of its (step, layer), at every row."""
    out = np.empty_like(values)
    for key in set(zip(step, layer)):
        at = (step == key[0]) & (layer == key[1])
        out[at] = np.sqrt(np.nanmean(values[at] ** 2))
    return out


def differences(one, other):
    """Errors of every column of `heads` relative to its size, ``[steps, layers x heads]``."""
    ours, theirs = (frame(p, growthpath.open(p).heads) for p in (one, other))
    assert len(ours["step"]) == len(theirs["step"]) == STEPS * 16
    found = {}
    for name, want in theirs.items():
        if name in SPECTRA:
            continue
        have = ours[name]
        if name not in RECORDED and np.isnan(have).all():
            continue  # a statistic that came later, and that the recorder does not compute
        if name in PRODUCTS:
            a, b = PRODUCTS[name]
            scale = np.sqrt(theirs[a] * theirs[b])
        elif name.startswith("pressure"):
            scale = np.ones_like(want)  # cosines
        elif name == "lse_gap":
            scale = 1.0 + np.abs(theirs["s_max"])  # rounding of logits, not a size of its own
        elif name == "qk_cos":
            scale = np.ones_like(want)
        elif name in ("s_max", "s_min"):
            scale = np.maximum(theirs["s_max"], -theirs["s_min"])
        elif name == "sharpness":
            scale = np.ones_like(want)  # one minus an entropy of size one
        else:
            scale = np.abs(want)
        error = np.abs(have - want) / np.where(scale > 0, scale, 1.0)
        found[name] = error.reshape(STEPS, -1)
    return found


def test_heads(recorded, reference):
    worst = {name: float(error.max()) for name, error in differences(recorded, reference).items()}
    # max_distance moves by whole tokens where two logits of a row are equal to rounding.
    distance = worst.pop("max_distance")
    print({n: f"{v:.1e}" for n, v in sorted(worst.items(), key=lambda kv: -kv[1])[:8]}, "max_distance", f"{distance:.1e}")
    assert distance < 1e-2
    assert max(worst.values()) < 1e-4, worst


def test_at_the_usual_rate_the_difference_is_rounding_that_training_passes_on(binary, data, tmp_path):
    """At a rate of 3e-3 the two programs differ by 2e-3 after 20 steps. So does PyTorch from itself when every weight moves by one
    unit in its last place: AdamW divides by the gradient's own size, and makes whole steps of gradients that are rounding."""
    reference = tmp_path / "gpt"
    train_reference(binary, reference, "3e-3")
    plain = stepped(reference, tmp_path / "plain", data)
    largest = lambda found: np.max([e.max(1) for n, e in found.items() if n != "max_distance"], axis=0)
    other = largest(differences(plain, reference))
    own = []
    for seed in (0, 1):
        generator = torch.Generator().manual_seed(seed)
        side = lambda p: torch.randint(0, 2, p.shape, generator=generator) * 2.0 - 1.0
        moved = stepped(reference, tmp_path / f"moved-{seed}", data, lambda p: torch.nextafter(p, p + side(p) * p.abs()))
        own.append(largest(differences(moved, plain)))
    own = np.max(own, axis=0)
    print("by step 0, 1, 5, 10, 19: programs", other[[0, 1, 5, 10, 19]], "one unit in the last place", own[[0, 1, 5, 10, 19]])
    # The first step's gradients are those of equal weights: nothing has been passed on yet.
    assert other[0] < 1e-5
    assert other.max() < 2.0 * own.max() and 1e-4 < own.max() < 1e-2


@pytest.mark.parametrize("table", ["steps", "writes"])
def test_steps_and_writes(recorded, reference, table):
    ours, theirs = (frame(p, growthpath.open(p).table(table)) for p in (recorded, reference))
    for name, want in theirs.items():
        if name == "step_ms":
            continue
        scale = np.abs(want)
        if name == "dot":
            scale = np.sqrt(theirs["energy"] * theirs["h2_before"])
        if name in ("common", "hidden_common"):
            scale = np.maximum(theirs["energy"] if name == "common" else theirs["hidden_ms"], 1e-30)
        ok = np.isclose(ours[name], want, rtol=0, atol=1e-4 * np.nan_to_num(scale) + 1e-30, equal_nan=True)
        assert ok.all(), (name, ours[name][~ok][:5], want[~ok][:5])


def test_probes(recorded, reference):
    ours, theirs = (frame(p, growthpath.open(p).probe) for p in (recorded, reference))
    assert (ours["step"] == theirs["step"]).all() and (ours["prev_step"] == theirs["prev_step"]).all()
    for name, want in theirs.items():
        scale = np.maximum(np.abs(want), 1.0 if name.startswith("gamma") or name in ("c", "c0", "c_next", "feature_step", "cos_theta") else 0.0)
        error = np.abs(ours[name] - want) / np.where(scale > 0, scale, 1.0)
        assert (np.isnan(ours[name]) == np.isnan(want)).all(), name
        assert np.nanmax(error, initial=0.0) < 1e-4, (name, np.nanmax(error))


@pytest.mark.parametrize("table, columns", [
    ("shares", ("stream_share", "energy_share", "drift_share")),
    ("probe_layers", ("eff_rank", "distinct", "tr_sq", "tr_sk", "lambda_sq", "lambda_sk", "lambda_x")),
    ("reliance", ("delta", "base_loss")),
])  # fmt: skip
def test_other_probe_tables(recorded, reference, table, columns):
    ours, theirs = (frame(p, growthpath.open(p).table(table)) for p in (recorded, reference))
    keys = [n for n in ("step", "scope", "layer", "head", "write") if n in theirs]
    at = {tuple(k): i for i, k in enumerate(zip(*(ours[n] for n in keys)))}
    pairs = [(at[k], i) for i, k in enumerate(zip(*(theirs[n] for n in keys))) if k in at]
    assert len(pairs) > 4
    mine, its = np.array(pairs).T
    for name in columns:
        a, b = ours[name][mine], theirs[name][its]
        # Shares add up to one and parts of growth to some ln; losses are differences of numbers near 5.
        scale = np.maximum(np.abs(b), {"reliance": 5.0, "shares": 1.0}.get(table, 0.0))
        assert np.nanmax(np.abs(a - b) / scale) < 1e-4, (name, np.nanmax(np.abs(a - b) / scale))


def test_the_program_reads_it(recorded, binary):
    for verb in (["verify"], ["analyze"], ["report"]):
        out = [] if verb != ["report"] else ["--out", recorded.parent / "report.html"]
        done = subprocess.run([binary, *verb, recorded, *out], capture_output=True, text=True)
        assert done.returncode == 0, (verb, done.stdout, done.stderr)
