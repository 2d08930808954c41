#!/usr/bin/env bash
# usage: inspect-families.sh GROWTHPATH_BINARY
# `growthpath inspect` against a NumPy SVD for small seeded models of every family that transformers builds: the second half
# of transformers-checks.sh alone, with its virtual environment (or GROWTHPATH_PYTHON).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
exec "${GROWTHPATH_PYTHON:-$root/target/transformers/bin/python}" "$root/scripts/inspect_families.py" "$(realpath "$1")"
