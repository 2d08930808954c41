#!/usr/bin/env bash
# Trains on the host emulator through the program's own CUDA path, and holds every recorded number against the same run
# on the CPU: all arms, head widths, precisions. No GPU, no CUDA toolkit; needs cargo and g++.
#
#   scripts/cuda-train-check.sh [--sanitize]
#
# --sanitize compiles the kernels with the address and undefined-behaviour sanitizers, and runs fewer cases.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

sanitize=
features=()
preload=()
if [ "${1-}" = --sanitize ]; then
    sanitize=1
    features=(--features growthpath-emu-driver/sanitize)
    preload=(LD_PRELOAD="$(g++ -print-file-name=libasan.so)" ASAN_OPTIONS=detect_leaks=0)
fi

# Without nvcc the program holds no PTX and asks for NVRTC, which the emulator stands in for as well.
GROWTHPATH_NVCC=none cargo build --release --locked --quiet --features cuda --bin growthpath
cp target/release/growthpath "$work/growthpath"
(cd kernels/emu && CARGO_TARGET_DIR="$root/target/emu" nice cargo build --release --locked --quiet -p growthpath-emu-driver "${features[@]}")
mkdir "$work/lib"
cp target/emu/release/libcuda.so "$work/lib/"
# One library under three names: links, for copies would be three devices.
for name in libcublas libnvrtc; do ln -s libcuda.so "$work/lib/$name.so"; done

shape=(--size nano --set width=64 --set heads=2 --set layers=2 --set context=32 --batch 2 --steps 5 --probe-every 3
    --eval-sequences 3 --reliance-sequences 0 --quiet)

on_device() { env LD_LIBRARY_PATH="$work/lib" GROWTHPATH_EMU_SCHEDULE="$schedule" "${preload[@]}" "$work/growthpath" "$@"; }

# What a user with a GPU runs first.
kernels() {
    on_device check-device --quick >"$work/kernels" 2>&1 || { cat "$work/kernels"; exit 1; }
    tail -n 1 "$work/kernels"
}

# check TOLERANCE PRECISION FLAGS...: the trace of the device against the CPU's, and its own identities.
check() {
    local tolerance=$1 precision=$2
    shift 2
    rm -rf "$work/cpu" "$work/device"
    "$work/growthpath" train "${shape[@]}" "$@" --device cpu --out "$work/cpu" >/dev/null
    on_device train "${shape[@]}" "$@" --device cuda --precision "$precision" --out "$work/device" >/dev/null
    "$work/growthpath" verify "$work/device" >"$work/verify" 2>&1 || { cat "$work/verify"; exit 1; }
    "$work/growthpath" verify "$work/cpu" --against "$work/device" --tolerance "$tolerance" >"$work/against" 2>&1 || {
        cat "$work/against"
        echo "cuda-train-check: $* ($precision, threads $schedule) differs from the CPU" >&2
        exit 1
    }
    printf '%-4s  threads %-8s  within %s  %s\n' "$precision" "$schedule" "$tolerance" "$*"
}

# float32: both sides round at every operation and add in another order; five steps multiply that by less than 1e3.
# Key biases have no gradient but rounding, which AdamW makes steps of: s_max and s_ms see them, the spread does not.
f32=1e-3
# bf16 stores eight bits: 2^-9 at every tensor, some ten tensors a layer, two layers, five steps, summed as a bound; the
# second-order rates of the probe are differences of such numbers.
bf16=0.3

if [ -n "$sanitize" ]; then
    schedule=forward
    shape+=(--steps 2 --set layers=1)
    kernels
    check $f32 f32 --preset gpt
    check $f32 f32 --preset llama --set qk_norm=true
    check $bf16 bf16 --preset gpt+geglu --batch 1
    # Rotary positions in the probes' kernels.
    check $f32 f32 --preset llama --batch 1
    echo "cuda-train-check: no access outside an allocation"
    exit
fi
schedule=forward
kernels
if [ -e .cuda/home/lib/libnvrtc.so.13 ]; then
    # The real NVRTC compiles for the device that the emulator claims to be.
    rm "$work/lib/libnvrtc.so"
    ln -s "$(realpath .cuda/home/lib/libnvrtc.so.13)" "$work/lib/libnvrtc.so"
    LD_LIBRARY_PATH=$work/lib:$(dirname "$(realpath .cuda/home/lib/libnvrtc.so.13)") "$work/growthpath" check-device --quick >"$work/kernels" ||
        { cat "$work/kernels"; exit 1; }
    echo "NVRTC compiles every kernel"
    ln -sf libcuda.so "$work/lib/libnvrtc.so"
fi
check $f32 f32 --preset gpt --reliance-sequences 3
schedule=reverse
kernels
check $f32 f32 --preset llama
schedule=7
check $f32 f32 --preset gpt+geglu --set qk_norm=true
check $f32 f32 --preset llama --set tied=false --optimizer sgd --intervene upper-qk --hold 0.5
check $f32 f32 --preset gpt+swiglu --set heads=1
schedule=reverse
check $f32 f32 --preset gpt+rope --set width=128 --set heads=1 --set context=40
check $f32 f32 --preset gpt-nobias --telemetry 2 --batch 1
check $f32 f32 --preset llama --set heads=4
check $bf16 bf16 --preset gpt
check $bf16 bf16 --preset llama
# Heads of 16 with rotation are held in float32 above (llama) and by check-device: in bf16 the probe columns of so small a run
# scatter too much to be held to a fixed number (gpt+rope: 0.35, 0.22 and 0.08 off at three seeds; 5e-5 in float32).
check $bf16 bf16 --preset gpt --set heads=4
# Heads of 64, multiplied by warpgroups. Four sequences: of two, a second-order column of the probe scatters to 0.4 at one seed of four.
check $bf16 bf16 --preset gpt --set heads=1 --batch 4
check $bf16 bf16 --preset gpt --set context=144 --batch 1 --steps 2
# Heads of 128, likewise, over more than one tile.
check $bf16 bf16 --preset llama --set width=128 --set heads=1 --set context=80 --batch 2 --steps 3

# Steps recorded and launched as graphs, and kernel by kernel: the same bits, whatever changes from step to step (the schedule,
# the batch, an intervention's multipliers, telemetry on and off).
graphs() {
    local out
    for out in 1 2 off; do
        rm -rf "$work/graphs-$out"
        GROWTHPATH_CUDA_GRAPHS=$out on_device train "${shape[@]}" --steps 7 --warmup 3 --checkpoint-every 7 "$@" --device cuda \
            --out "$work/graphs-$out" >/dev/null
    done
    for out in 1 2; do
        "$work/growthpath" verify "$work/graphs-$out" --against "$work/graphs-off" --tolerance 0 >"$work/against" || {
            cat "$work/against"
            echo "cuda-train-check: $* differs between graphs ($out) and launches" >&2
            exit 1
        }
        cmp "$work/graphs-$out/checkpoints/step-7/model.safetensors" "$work/graphs-off/checkpoints/step-7/model.safetensors"
    done
    printf 'graphs on one stream and two, launches one by one: the same bits  threads %-8s %s\n' "$schedule" "$*"
}
# A graph on two streams is done in the order that the schedule says.
schedule=forward
graphs --preset gpt --precision bf16 --reliance-sequences 3
schedule=7
graphs --preset gpt
schedule=reverse
graphs --preset llama --set qk_norm=true --telemetry 2 --optimizer sgd --intervene all-qk --hold 0.5

# resumes FLAGS...: stopped and resumed, the same bits as a run that never stopped, on the device too.
resumes() {
    rm -rf "$work/whole" "$work/part"
    on_device train "${shape[@]}" --steps 6 --checkpoint-every 3 "$@" --device cuda --out "$work/whole" >/dev/null 2>&1
    # A run that was faster than the signal is started anew.
    local run left=5
    until grep -q '"interrupted"' "$work/part/run.json" 2>/dev/null; do
        if [ $((left--)) = 0 ]; then echo "cuda-train-check: $* was never stopped in time" >&2; exit 1; fi
        rm -rf "$work/part"
        on_device train "${shape[@]}" --steps 6 --checkpoint-every 3 "$@" --device cuda --out "$work/part" >/dev/null 2>&1 &
        run=$!
        until [ -d "$work/part/checkpoints/step-3" ] || ! kill -0 "$run" 2>/dev/null; do sleep 0.02; done
        pkill -TERM -f -- "--out $work/part" || true
        wait "$run" || true
    done
    on_device train --resume --quiet --device cuda --out "$work/part" >/dev/null 2>&1
    "$work/growthpath" verify "$work/whole" --against "$work/part" --tolerance 0 >/dev/null || {
        echo "cuda-train-check: a resumed run differs: $*" >&2
        exit 1
    }
    cmp "$work/whole/checkpoints/step-6/model.safetensors" "$work/part/checkpoints/step-6/model.safetensors"
    echo "resumed run: the same bits $*"
}
resumes

# Where float64 is slow, or memory short, the host works out the probes while the device trains on.
probed_on() {
    grep -q "\"probes\": \"$1\"" "$work/device/run.json" || {
        grep '"probes"' "$work/device/run.json"
        echo "cuda-train-check: the probes were to be worked out on: $1" >&2
        exit 1
    }
}
probed_on device 2>/dev/null || { echo "cuda-train-check: no run was probed on the device" >&2; exit 1; }
# A probe that takes a few steps' time.
long=(--probe-sequences 400)
export GROWTHPATH_EMU_DOUBLE_RATIO=32
check $f32 f32 --preset llama "${long[@]}"
probed_on "host, beside training"
# Released by maturity at step 3, before the time that ends a hold whatever was measured (step 5 of 40); the rates of every step are
# compared as well.
check $f32 f32 --preset gpt --steps 40 --probe-every 40 "${long[@]}" --intervene upper-qk --hold adaptive --ramp 0
slowed=$("$work/growthpath" export "$work/device" --table steps | awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "qk_mult") c = i } NR > 1 && $c < 1' | wc -l)
[ "$slowed" = 3 ] || { echo "cuda-train-check: the hold lasted $slowed steps" >&2; exit 1; }
resumes "${long[@]}" --intervene upper-qk --hold adaptive
mv "$work/whole" "$work/slow"
unset GROWTHPATH_EMU_DOUBLE_RATIO
rm -rf "$work/device"
GROWTHPATH_EMU_MEMORY=96 on_device train "${shape[@]}" --steps 6 --checkpoint-every 3 "${long[@]}" --intervene upper-qk --hold adaptive --device cuda \
    --out "$work/device" 2>"$work/said" >/dev/null
[ "$(grep -c "too little memory for probes" "$work/said")" = 1 ] || { cat "$work/said"; exit 1; }
probed_on "host, beside training, for lack of device memory"
"$work/growthpath" verify "$work/slow" --against "$work/device" --tolerance 0 >"$work/against" || { cat "$work/against"; exit 1; }
echo "probes on the host beside training: with slow float64, with short memory"

# Probes on the device against the host's analysis of the same forward values, and a step's rows recomputed from its dump.
GROWTHPATH_EMU_SCHEDULE=7 LD_LIBRARY_PATH="$work/lib" GROWTHPATH_NVCC=none cargo test --release --locked --quiet --features cuda --lib device_probe
GROWTHPATH_DUMP_ON_DEVICE="$work/growthpath" LD_LIBRARY_PATH="$work/lib" GROWTHPATH_NVCC=none \
    cargo test --release --locked --quiet --features cuda --test dump
echo "probes on the device: the host's numbers; a dump of the device's step: its rows"

# The script for a machine with a GPU, at sizes that the emulator gets through.
# Its steps have to have been graphs.
QUICK=1 LD_LIBRARY_PATH=$work/lib bash scripts/gpu-check.sh "$work/growthpath" "$work/gpu-check" kernels agreement speed
grep -q "copies a step: as 1 graph [0-9]" "$work/gpu-check/speed-nano.txt"
