#!/usr/bin/env bash
# Everything that needs a GPU, on a machine that has one and a driver, CUDA 13 libraries, perhaps compute-sanitizer and
# PyTorch; no cargo. Under nine minutes on an H100.
#
#   scripts/gpu-check.sh BINARY [FOLDER] [PART...]
#   scripts/gpu-check.sh --quick BINARY [FOLDER]      two minutes: are the kernels right, and is attention within its budget
#
# BINARY was built elsewhere with `cargo build --release --features cuda`. Logs go to FOLDER (default: gpu-check). A part
# that passed is not run again: delete FOLDER/PART.done to repeat it. Parts, in order:
#   kernels    every kernel against its CPU twin
#   sanitizer  the same and a short training run under memcheck, racecheck, initcheck, synccheck
#   agreement  50 training steps on the CPU and on the GPU, every recorded number compared
#   speed      tokens/s, utilization, telemetry's cost, each kernel's time at micro, mini, 124m and 270m
#   budgets    124m's kernels against their budgets (gpu-budgets.py): a line for each, PASS or FAIL
#   probe      what one probe costs at 124m
#   pytorch    the same models in PyTorch: eager and torch.compile, bf16, SDPA, fused AdamW; at 124m with hooks too that
#              log the same per-head statistics
# QUICK=1 takes sizes that an emulator gets through.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
only_quick=
if [ "${1-}" = --quick ]; then only_quick=1; shift; fi
if [ $# -lt 1 ]; then sed -n '2,21s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2; fi
case $1 in -*) echo "gpu-check: unknown option '$1'" >&2; exit 2 ;; esac
if [ ! -x "$1" ]; then echo "gpu-check: $1 is not a program; build it with cargo build --release --features cuda" >&2; exit 2; fi
bin=$(realpath "$1")
out=${2:-gpu-check}
shift $(($# < 2 ? $# : 2))
parts=("$@")
known=(kernels sanitizer agreement speed budgets probe pytorch quick)
if [ ${#parts[@]} = 0 ]; then parts=(kernels sanitizer agreement speed budgets probe pytorch); fi
if [ -n "$only_quick" ]; then parts=(quick); fi
for name in "${parts[@]}"; do
    case " ${known[*]} " in *" $name "*) ;; *)
        echo "gpu-check: there is no part '$name'; there are: ${known[*]}" >&2
        exit 2
        ;;
    esac
done
mkdir -p "$out"
out=$(realpath "$out")
quick=${QUICK:-}
python=${PYTHON:-python3}
failed=0

# CUDA's libraries: the system's, and those that PyTorch's wheels carry.
libraries=${LD_LIBRARY_PATH:-}
for dir in /usr/local/cuda/lib64 $("$python" -c 'import glob, site
for s in site.getsitepackages(): print(*glob.glob(s + "/nvidia/*/lib"))' 2>/dev/null || true); do
    if [ -d "$dir" ]; then libraries=$libraries${libraries:+:}$dir; fi
done
export LD_LIBRARY_PATH=$libraries
export PATH=$PATH:/usr/local/cuda/bin

say() { printf '%s\n' "$*" | tee -a "$out/log"; }

# part NAME SECONDS FUNCTION: once, within a time limit, with its own log.
part() {
    local name=$1 limit=$2 started=$SECONDS
    if [ -n "$quick" ]; then limit=$((4 * limit)); fi # an emulator has the time
    case " ${parts[*]} " in *" $name "*) ;; *) return ;; esac
    if [ -e "$out/$name.done" ]; then say "$name: passed before"; return; fi
    if timeout "$limit" bash "$out/run.sh" "$name" >"$out/$name.log" 2>&1; then
        if grep -q skipped "$out/$name.summary" 2>/dev/null; then
            say "$name: skipped"
        else
            touch "$out/$name.done"
            say "$name: passed in $((SECONDS - started)) s"
        fi
    else
        say "$name: FAILED (exit code $?) after $((SECONDS - started)) s; the end of $out/$name.log:"
        tail -n 12 "$out/$name.log" | tee -a "$out/log"
        failed=1
    fi
}

# The parts run as a child of their own, so that a time limit reaches all of it.
cat >"$out/run.sh" <<RUN
set -euo pipefail
here=$here bin=$bin out=$out quick=$quick python=$python
source "\$here/gpu-check-parts.sh"
"part_\$1"
RUN

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | tee -a "$out/log" || true
# 535 seconds in all, were every part to reach its limit. The quick part repeats: it is run to see a change.
rm -f "$out/quick.done"
part quick 115
part kernels 45
part sanitizer 80
part agreement 60
part speed 90
part budgets 5
part probe 35
part pytorch 220

say ""
say "== summary ($(date -u +%Y-%m-%d))"
for name in "${parts[@]}"; do
    if [ -e "$out/$name.summary" ]; then tee -a "$out/log" <"$out/$name.summary"; fi
done
exit $failed
