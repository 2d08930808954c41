#!/usr/bin/env bash
# usage: transformers-checks.sh GROWTHPATH CHECKPOINT_LOGITS
# Holds growthpath against the transformers library: logits of checkpoints both ways (transformers_parity.py) and attention
# spectra of every family (inspect_families.py). Makes a virtual environment in target/transformers on first use (torch and
# transformers, a few GB); GROWTHPATH_PYTHON names a Python that has them already.
set -euo pipefail
bin=$(realpath "$1")
logits=$(realpath "$2")
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${GROWTHPATH_PYTHON:-$root/target/transformers/bin/python}
if ! "$python" -c 'import torch, transformers' 2>/dev/null; then
    if ! python3 -m venv "$root/target/transformers" 2>/dev/null; then
        rm -rf "$root/target/transformers"
        apt-get update -qq && apt-get install -y -qq python3-venv
        python3 -m venv "$root/target/transformers"
    fi
    python=$root/target/transformers/bin/python
    "$python" -m pip install -q --disable-pip-version-check torch transformers==5.24.0 numpy safetensors
fi
"$python" "$root/scripts/transformers_parity.py" "$bin" "$logits"
exec "$python" "$root/scripts/inspect_families.py" "$bin"
