"""What recording costs on this CPU, beside wandb.watch(log="all") in offline mode, which logs less.

usage: costs.py [ROUNDS] [STEPS]. Variants run in alternation (A B C ... A B C ...); medians over rounds. Beside the clock
stands the processor time of this process, which a busy machine disturbs less.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import torch  # noqa: E402
from conftest import tokens  # noqa: E402
from models import NanoGPT  # noqa: E402

import growthpath  # noqa: E402

ROUNDS, STEPS = (int(v) for v in (sys.argv[1:] + ["5", "10"][len(sys.argv) - 1 :]))
SHAPE = dict(vocabulary=512, context=128, width=256, layers=4, heads=4)
BATCH = 8
DATA = [torch.as_tensor(tokens(BATCH, 128, 512, i)) for i in range(4)]


def steps(model, optimizer, count):
    for at in range(count):
        batch = DATA[at % len(DATA)]
        model(batch[:, :-1], batch[:, 1:])[1].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


class Off:
    def __init__(self, model, optimizer, folder):
        pass

    def close(self):
        pass


class Wandb:
    """Histograms of every parameter and gradient at every step."""

    def __init__(self, model, optimizer, folder):
        import wandb

        self.run = wandb.init(mode="offline", dir=folder, settings=wandb.Settings(silent=True, x_disable_stats=True))
        self.run.watch(model, log="all", log_freq=1)
        self.handle = optimizer.register_step_post_hook(lambda *a: self.run.log({"step": 1}))

    def close(self):
        self.handle.remove()
        self.run.finish()


def recorder(**options):
    return lambda model, optimizer, folder: growthpath.record(model, optimizer, f"{folder}/run", **options)


VARIANTS = {
    "no recorder": Off,
    "every step, all sequences": recorder(),
    "every step, 1 of 8 sequences": recorder(sample=1),
    "every step, no logits": recorder(sample=0),
    "every 10th step, all sequences": recorder(every=10),
    "wandb.watch(log='all')": Wandb,
}


def once(make) -> tuple[float, float]:
    """Seconds a step by the clock, and of processor time."""
    torch.manual_seed(0)
    model = NanoGPT(**SHAPE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with tempfile.TemporaryDirectory() as folder:
        watcher = make(model, optimizer, folder)
        steps(model, optimizer, 2)
        started = time.perf_counter(), time.process_time()
        steps(model, optimizer, STEPS)
        ended = time.perf_counter(), time.process_time()
        watcher.close()
    return (ended[0] - started[0]) / STEPS, (ended[1] - started[1]) / STEPS


def main() -> None:
    os.environ.setdefault("WANDB_MODE", "offline")
    variants = dict(VARIANTS)
    try:
        __import__("wandb")
    except ImportError:
        variants.pop("wandb.watch(log='all')")
        print("wandb is not installed: left out")
    seconds = {name: [] for name in variants}
    for _ in range(ROUNDS):
        for name, make in variants.items():
            seconds[name].append(once(make))
    parameters = sum(p.numel() for p in NanoGPT(**SHAPE).parameters())
    print(f"{parameters / 1e6:.1f}M parameters, batch {BATCH} x {SHAPE['context']}, {torch.get_num_threads()} threads, {ROUNDS} rounds of {STEPS} steps")
    base = seconds["no recorder"]
    for name, each in seconds.items():
        # Each round against its own plain run: what the machine does beside is the same for both.
        ratios = [statistics.median(a[i] / b[i] for a, b in zip(each, base)) for i in (0, 1)]
        clock, processor = (1e3 * statistics.median(e[i] for e in each) for i in (0, 1))
        print(
            f"{name:34} {clock:9.1f} ms a step {100 * (ratios[0] - 1):+8.1f} %, processor {processor:9.1f} ms {100 * (ratios[1] - 1):+8.1f} %"
        )


if __name__ == "__main__":
    main()
