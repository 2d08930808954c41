#!/usr/bin/env bash
# usage: python-checks.sh GROWTHPATH_BINARY
# Trains a nano GPT and a nano LLaMA and recomputes probe rows of both in NumPy (recompute_probe.py); rewrites a run with DuckDB,
# polars, pandas and pyarrow, imports it back and queries runs as one dataset (foreign_traces.py). Fetches pinned wheels into
# target/python on first use, about 250 MB, no PyTorch; checks against transformers are in transformers-checks.sh.
set -euo pipefail
bin=$(realpath "$1")
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/target/python
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

if ! "$venv/bin/python" -c 'import numpy, safetensors, pyarrow, pandas, polars, duckdb, datafusion' 2>/dev/null; then
    rm -rf "$venv"
    if ! python3 -m venv "$venv" 2>/dev/null; then
        rm -rf "$venv"
        apt-get update -qq && apt-get install -y -qq python3-venv
        python3 -m venv "$venv"
    fi
    "$venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 safetensors==0.8.0 pyarrow==26.0.1 \
        pandas==3.1.1 polars==2.1.0 duckdb==2.0.1 datafusion==55.0.0
fi

for preset in gpt llama; do
    "$bin" train --preset "$preset" --size nano --steps 40 --probe-every 10 --checkpoint-probes \
        --reliance-sequences 0 --out "$dir/$preset" --quiet > "$dir/$preset.log" || { cat "$dir/$preset.log"; exit 1; }
    # From the first step's probe to the last: small spreads and large ones.
    for interval in "0 1" "16 20" "32 40"; do
        # shellcheck disable=SC2086
        "$venv/bin/python" "$root/scripts/recompute_probe.py" "$dir/$preset" $interval
    done
done
"$venv/bin/python" "$root/scripts/foreign_traces.py" "$bin"
echo "python checks: passed"
