#!/usr/bin/env bash
# usage: tensorboard-check.sh GROWTHPATH_BINARY
# The event file of `export --to tensorboard --follow`, written while a run trains, read with the tensorboard package: every
# curve must be that of `export --to jsonl`.
set -euo pipefail
bin=$(realpath "$1")
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/target/tensorboard
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
if ! "$venv/bin/python" -c 'import numpy, tensorboard' 2>/dev/null; then
    rm -rf "$venv"
    if ! python3 -m venv "$venv" 2>/dev/null; then
        rm -rf "$venv"
        apt-get update -qq && apt-get install -y -qq python3-venv
        python3 -m venv "$venv"
    fi
    "$venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 tensorboard==2.21.0
fi

"$bin" train --size nano --set layers=2 --steps 60 --eval-every 20 --checkpoint-every 10 --out run --quiet > /dev/null &
until [ -e run/run.json ] && [ -e run/manifest.json ]; do sleep 0.05; done
"$bin" export run --to tensorboard --follow --every 0.1 --out tb/run
wait
"$bin" export run --to jsonl > curves.jsonl
"$venv/bin/python" - <<'PYTHON'
import json

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator("tb/run", size_guidance={"scalars": 0})
events.Reload()
want = {}
for line in open("curves.jsonl"):
    row = json.loads(line)
    for name, value in row.items():
        if name not in ("step", "seconds"):
            want.setdefault(name, []).append((row["step"], np.float32(value)))
tags = events.Tags()["scalars"]
assert sorted(tags) == sorted(want), (sorted(tags), sorted(want))
for name, points in want.items():
    got = [(e.step, np.float32(e.value)) for e in events.Scalars(name)]
    assert got == points, (name, got[:3], points[:3])
times = [e.wall_time for e in events.Scalars("train/loss")]
assert times == sorted(times) and times[-1] > times[0]
print(f"tensorboard: {len(want)} curves, {sum(map(len, want.values()))} points agree")
PYTHON
