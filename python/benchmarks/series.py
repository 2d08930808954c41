"""Trains small GPT-NeoX, Qwen2 and Llama models (seeded), probes their checkpoints with `python -m growthpath series` at two
cadences, and prints how growth splits at each, the verdict, time and memory.

usage: series.py OUT [STEPS] [EVERY] [TEXT...]. The texts (this repository's pages by default) are read as bytes.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
import transformers

import growthpath

ROOT = Path(__file__).resolve().parents[2]
LENGTH, BATCH, HELD_OUT = 128, 8, 8
COMMON = dict(
    vocab_size=256, hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4,
    max_position_embeddings=256, bos_token_id=0, eos_token_id=0,
)  # fmt: skip
MODELS = {
    "gpt_neox": lambda: transformers.GPTNeoXConfig(**COMMON, rotary_pct=0.25, hidden_dropout=0.0, attention_dropout=0.0),
    "qwen2": lambda: transformers.Qwen2Config(**COMMON, num_key_value_heads=2),
    "llama": lambda: transformers.LlamaConfig(**COMMON, num_key_value_heads=2),
}


def train(name: str, folder: Path, text: np.ndarray, steps: int, every: int) -> list[Path]:
    """AdamW with warmup and cosine decay; a checkpoint every so many steps."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(MODELS[name]())
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
    rate = lambda s: min((s + 1) / 20, 0.55 + 0.45 * np.cos(np.pi * s / steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    random, saved = np.random.default_rng(0), []
    for step in range(steps + 1):
        if step % every == 0:
            saved.append(folder / f"step-{step}")
            model.save_pretrained(saved[-1])
        if step == steps:
            break
        starts = random.integers(0, len(text) - LENGTH, BATCH)
        ids = torch.as_tensor(np.stack([text[s : s + LENGTH] for s in starts]))
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{name}: {parameters / 1e6:.2f}M parameters, {steps} steps, loss {loss.item():.3f}, {len(saved)} checkpoints", flush=True)
    return saved


def series(checkpoints: list[Path], tokens: Path, out: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    command = [sys.executable, "-W", "ignore", "-m", "growthpath", "series", *checkpoints, "--text", tokens, "--out", out]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    run = growthpath.open(out)
    analysis = run.analyze()
    print(f"  {len(checkpoints)} checkpoints: {time.perf_counter() - started:.1f} s, {processor:.1f} s of processor time, peak {after.ru_maxrss / 1024:.0f} MiB")
    for split in analysis["accounting"]["layers"]:
        print("    layer {layer}: queries {query:+.3f} keys {key:+.3f} features {features:+.3f} growth {growth:+.3f}".format(**split))
    parts = analysis["prediction"]
    print("    correlation of predicted with measured: " + ", ".join(f"{p} {parts[p]['correlation']:.4f}" for p in ("query", "key", "features", "total")))
    print(f"    verified: {run.verify()['ok']}; {run.diagnose()['sentence']}", flush=True)


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    out, steps, every = Path(sys.argv[1]), *(int(v) for v in (sys.argv[2:4] + ["160", "10"][len(sys.argv[2:4]) :]))
    texts = [Path(t) for t in sys.argv[4:]] or sorted((ROOT / "docs").glob("*.md"))
    text = np.concatenate([np.frombuffer(t.read_bytes(), np.uint8) for t in texts]).astype(np.int64)
    cut = len(text) - len(text) // 10
    starts = np.linspace(cut, len(text) - LENGTH - 1, HELD_OUT).astype(int)
    out.mkdir(parents=True, exist_ok=True)
    tokens = out / "held-out.npy"
    np.save(tokens, np.stack([text[s : s + LENGTH + 1] for s in starts]))
    for name in MODELS:
        saved = train(name, out / name, text[:cut], steps, every)
        series(saved, tokens, out / f"{name}-every-{every}")
        series(saved[::2], tokens, out / f"{name}-every-{2 * every}")


if __name__ == "__main__":
    main()
