#!/usr/bin/env python3
"""Recompute rows of a run's `probe` table from its checkpoints, in NumPy and float64.

    recompute_probe.py RUN [FROM TO] [--transformers]

RUN was trained with --checkpoint-probes; FROM and TO are two consecutive probes (default: the last two). Reads the
token ids of tokens.safetensors, both checkpoints and the probe table; nothing of growthpath's own code. Prints, column by
column, what is recorded, what comes out here and how far the two lie apart, and exits with 1 where that is more than
float32 activations explain. --transformers holds the forward pass against the `transformers` library as well, for the
arms that it has.

Needs numpy, safetensors and pyarrow; --transformers needs torch and transformers.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from safetensors.numpy import load_file

from growthpath_model import Model

# The run's activations are float32, the weights exactly so. A logit is a sum of products of rounded numbers: its error is
# a small multiple of eps |q| |k| / sqrt(d_h), the multiple growing with the number of roundings before it, about three a
# sub-block, which add up like a random walk.
EPS = 2.0**-24


def projections(x, model, layer, weights):
    """Rotated queries or keys `(n, H, T, d_h)` of the inputs x under (W, b)."""
    w, b = weights
    y = x @ w
    return model.rotate(model.split(y if b is None else y + b))


def logits(q, k, head_dim):
    """Logits `(n, H, T, T)`, and what they are after each row is centred over its causal pairs (0 elsewhere)."""
    t = q.shape[2]
    s = q @ k.swapaxes(-1, -2) / np.sqrt(head_dim)
    causal = np.tri(t)
    mean = (s * causal).sum(-1, keepdims=True) / np.arange(1, t + 1)[:, None]
    return s, (s - mean) * causal


def pairs(x):
    n, t, _ = x.shape
    return n * t * (t + 1) / 2


def rms(s, count):
    return np.sqrt((s * s).sum((0, 2, 3)) / count)


def pattern(s):
    """Largest logit, and the entropy over the log of the row length, mean over rows of two keys or more; per head."""
    t = s.shape[-1]
    masked = np.where(np.tri(t, dtype=bool), s, -np.inf)
    a = np.exp(masked - masked.max(-1, keepdims=True))
    a /= a.sum(-1, keepdims=True)
    h = -(a * np.log(np.where(a > 0, a, 1.0))).sum(-1)[..., 1:] / np.log(np.arange(2, t + 1))
    return masked.max((0, 2, 3)), h.mean((0, 2))


def predicted_spread(x, model, weights):
    """(4.1) without RoPE: a^2 = tr(W_Q^T Sq W_Q W_K^T Sk W_K) / d_h, per head."""
    n, t, d = x.shape
    count = pairs(x)
    (wq, bq), (wk, _) = weights
    if bq is not None:
        x, wq = np.concatenate([x, np.ones((n, t, 1))], -1), np.vstack([wq, bq])
    sq = np.einsum("i,nia,nib->ab", np.arange(1, t + 1), x, x) / count
    # Row i sees keys 0..i: its scatter is their sum of squares less i+1 times the square of their mean.
    feature = x[..., :d]
    sums = np.cumsum(feature, 1)
    squares = np.einsum("j,nja,njb->ab", t - np.arange(t), feature, feature)
    means = np.einsum("i,nia,nib->ab", 1.0 / np.arange(1, t + 1), sums, sums)
    sk = (squares - means) / count
    dh, out = model.head_dim, []
    for h in range(model.heads):
        c = slice(h * dh, (h + 1) * dh)
        out.append(np.trace(wq[:, c].T @ sq @ wq[:, c] @ wk[:, c].T @ sk @ wk[:, c]) / dh)
    return np.sqrt(out)


def recompute(old, new, x_old, x_new, layer):
    """Columns of one layer over one interval, one entry a head; and the tolerance of a log spread."""
    dh = new.head_dim
    count = pairs(x_new)
    xs = (x_old, x_new)
    w = (old.query_key(layer), new.query_key(layer))
    q = [[projections(x, new, layer, side[0]) for side in w] for x in xs]
    k = [[projections(x, new, layer, side[1]) for side in w] for x in xs]
    v, ends, slack = {}, {}, 0.0
    for f in (0, 1):
        for i in (0, 1):
            for j in (0, 1):
                s, centred = logits(q[f][i], k[f][j], dh)
                a = rms(centred, count)
                v[f, i, j] = np.log(a)
                size = np.sqrt((q[f][i] ** 2).sum(-1).mean((0, 2)) * (k[f][j] ** 2).sum(-1).mean((0, 2)) / dh)
                slack = np.maximum(slack, size / a)
                if f == i == j:
                    ends[f] = (s, centred, a)
    mean = lambda terms: sum(terms) / len(terms)
    both = (0, 1)
    gamma_q = mean([v[f, 1, j] - v[f, 0, j] for f in both for j in both])
    gamma_k = mean([v[f, i, 1] - v[f, i, 0] for f in both for i in both])
    gamma_f = mean([v[1, 0, 0] - v[0, 0, 0], v[1, 1, 1] - v[0, 1, 1]])
    (_, before, a0), (s, after, a1) = ends[0], ends[1]
    s_max, entropy = pattern(s)
    out = {
        "spread": a1,
        "spread_prev": a0,
        "s_max": s_max,
        "entropy": entropy,
        "gamma": np.log(a1 / a0),
        "gamma_q": gamma_q,
        "gamma_k": gamma_k,
        "gamma_f": gamma_f,
        "cos_theta": (before * after).sum((0, 2, 3)) / (count * a0 * a1),
    }
    if new.c["pos"] == "learned":
        out["a_hat"] = predicted_spread(x_new, new, w[1])
        out["a_hat_prev"] = predicted_spread(x_old, old, w[0])
    roundings = 3 * (2 * layer + 2)
    return out, EPS * np.sqrt(roundings) * slack


def probe_rows(run):
    parts = sorted((run / "probe").glob("part-*.parquet"))
    if not parts:
        raise SystemExit(f"{run}: no probe table")
    tables = [pq.read_table(p) for p in parts]
    return {name: np.concatenate([t[name].to_numpy() for t in tables]) for name in tables[0].column_names}


def check_transformers(folder, tokens, inputs):
    """Largest difference of the attention inputs from those of `transformers`, relative to their RMS."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float64)
    seen, norms = {}, []
    for name, module in model.named_modules():
        if name.endswith((".ln_1", ".input_layernorm")):
            norms.append(name)
            module.register_forward_hook(lambda m, i, o, name=name: seen.__setitem__(name, o.detach().numpy()))
    with torch.no_grad():
        model(torch.from_numpy(tokens.astype(np.int64)))
    theirs = [seen[n] for n in norms]
    return max(np.abs(a - b).max() / np.sqrt((a * a).mean()) for a, b in zip(inputs, theirs, strict=True))


def compare(column, recorded, found, tolerance, spread):
    """Largest difference over its tolerance, and a line of the table."""
    logarithm = column.startswith("gamma")
    difference = np.abs(recorded - found)
    # A log spread is known to `tolerance`, a growth is a difference of two, its parts are means of such; a spread is
    # known to that relatively, the largest logit to four times that of the RMS one (its query and key are longer).
    scale = {"entropy": 1.0, "cos_theta": 1.0, "s_max": 4.0 * spread}.get(column, 2.0 if logarithm else np.abs(found))
    ratio = difference / (tolerance * scale)
    at = int(np.argmax(ratio)) if np.isfinite(ratio).all() else int(np.argmax(~np.isfinite(ratio)))
    size = 1.0 if logarithm or column in ("entropy", "cos_theta") else abs(found[at])
    print(f"{column:12} {recorded[at]:16.9f} {found[at]:16.9f} {difference[at] / size:12.2e} {ratio[at]:10.3f}")
    return ratio[at]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("steps", type=int, nargs="*", metavar="FROM TO")
    parser.add_argument("--transformers", action="store_true", help="check the forward pass against transformers, too")
    args = parser.parse_args()
    rows = probe_rows(args.run)
    times = np.unique(rows["step"])
    if len(args.steps) not in (0, 2):
        parser.error("give both FROM and TO, or neither")
    first, last = args.steps or times[-2:]
    at = np.searchsorted(times, last)
    if at == 0 or at == len(times) or times[at] != last or times[at - 1] != first:
        raise SystemExit(f"{first} and {last} are not consecutive probes of {args.run}; probes: {' '.join(map(str, times))}")

    tokens = load_file(args.run / "tokens.safetensors")["probe.inputs"]
    folders = [args.run / "checkpoints" / f"step-{t}" for t in (first, last)]
    for f in folders:
        if not f.is_dir():
            raise SystemExit(f"{f}: no such checkpoint; train with --checkpoint-probes")
    old, new = (Model(f) for f in folders)
    x_old, x_new = old.attention_inputs(tokens), new.attention_inputs(tokens)
    if args.transformers:
        kind = json.loads((folders[1] / "config.json").read_text())["model_type"]
        if kind not in ("gpt2", "llama"):
            raise SystemExit("transformers has no class for this arm")
        off = check_transformers(folders[1], tokens, x_new)
        print(f"attention inputs against transformers: {off:.1e} of their RMS at worst")
        if off > 1e-10:
            sys.exit(1)

    found, tolerance = {}, []
    for layer in range(new.c["layers"]):
        columns, slack = recompute(old, new, x_old[layer], x_new[layer], layer)
        tolerance.append(slack)
        for name, values in columns.items():
            found.setdefault(name, []).append(values)
    tolerance = np.concatenate(tolerance)
    pick = np.flatnonzero(rows["step"] == last)
    pick = pick[np.lexsort((rows["head"][pick], rows["layer"][pick]))]
    print(f"{args.run}: probe {first} to {last}, {len(pick)} heads; each column where it agrees least")
    print(f"{'column':12} {'recorded':>16} {'recomputed':>16} {'difference':>12} {'/tolerance':>10}")
    worst, spread = 0.0, np.concatenate(found["spread"])
    for name, values in found.items():
        values = np.concatenate(values)
        if name in rows:
            worst = max(worst, compare(name, rows[name][pick], values, tolerance, spread))
        else:
            print(f"{name:12} {'not recorded':>16} {values[0]:16.9f}")
    additive = np.abs(sum(np.concatenate(found[f"gamma_{p}"]) for p in "qkf") - np.concatenate(found["gamma"])).max()
    print(f"gamma_q + gamma_k + gamma_f - gamma, at most: {additive:.1e}")
    if not worst <= 1.0 or additive > 1e-10:
        sys.exit("recompute_probe: a column differs by more than float32 activations explain")


if __name__ == "__main__":
    main()
