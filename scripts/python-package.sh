#!/usr/bin/env bash
# usage: python-package.sh [--without-torch] [GROWTHPATH_BINARY] [pytest arguments]
# Builds the Python package's wheel and runs its tests in a virtual environment of its own (target/python-package), which is filled on
# first use: PyTorch and transformers among the rest, some gigabytes. --without-torch leaves those two out, and skips what needs them.
# Needs rustup's cargo and Python 3.10 or newer.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
wants="pyarrow, pandas, polars, duckdb, safetensors, pytest, maturin"
lists=(-r "$root/python/requirements-test.txt")
if [ "${1:-}" = --without-torch ]; then
    shift
else
    wants="$wants, torch, transformers, accelerate"
    lists+=(-r "$root/python/requirements-torch.txt")
fi
bin=$(realpath -m "${1:-$root/target/release/growthpath}")
shift $(($# < 1 ? $# : 1))
venv=$root/target/python-package

if ! "$venv/bin/python" -c "import $wants" 2>/dev/null; then
    if [ ! -x "$venv/bin/pip" ] && ! python3 -m venv "$venv" 2>/dev/null; then
        rm -rf "$venv"
        apt-get update -qq && apt-get install -y -qq python3-venv
        python3 -m venv "$venv"
    fi
    "$venv/bin/pip" install -q --disable-pip-version-check "${lists[@]}"
fi

# One target folder for everything: what the workspace has compiled is not compiled again.
export CARGO_TARGET_DIR=$root/target
rm -rf "$root/target/python-wheels"
PATH=$venv/bin:$PATH "$venv/bin/maturin" build --release --quiet --manifest-path "$root/python/Cargo.toml" \
    --out "$root/target/python-wheels"
"$venv/bin/pip" install -q --disable-pip-version-check --no-deps --force-reinstall "$root"/target/python-wheels/growthpath-*.whl
"$venv/bin/python" -c 'import growthpath; print("growthpath", growthpath.__version__, "reads schema", growthpath.SCHEMA_VERSION)'
cd "$root/python/tests"
GROWTHPATH_BINARY=$bin "$venv/bin/python" -m pytest -q -p no:cacheprovider "$@"
