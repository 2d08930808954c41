#!/usr/bin/env bash
# Runs every CUDA kernel on the host against float64 references: no GPU, no CUDA toolkit, only cargo and g++.
#
#   scripts/cuda-emulate.sh [--sanitize] [arguments of cargo test ...]
#
# --sanitize compiles the kernels with the address and undefined-behaviour sanitizers (several times slower).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
features=()
if [ "${1-}" = --sanitize ]; then
    shift
    features=(--features sanitize)
    # The test harness's own allocations live to the end of the process; fibers that a refused launch leaves behind
    # are not leaks either.
    export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0}
    # The sanitizer has to be loaded before the C library, and the order of libraries is not ours: preload it, into
    # the test programs alone.
    features+=(--config "target.'cfg(all())'.runner = ['env', 'LD_PRELOAD=$(g++ -print-file-name=libasan.so)']")
fi
# A folder of its own beside the product's build, so that neither waits for the other's lock.
export CARGO_TARGET_DIR=$root/target/emu
cd "$root/kernels/emu"
exec nice cargo test --workspace --release --locked "${features[@]}" "$@"
