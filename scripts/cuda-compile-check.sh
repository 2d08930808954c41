#!/usr/bin/env bash
# Compiles every kernel to PTX and assembles it for the architectures named below; prints what each takes and fails on
# any compiler warning, spill, stack frame or products of warpgroups that wait for each other. Needs no GPU; fetches the compiler on first use (cuda-setup.sh).
#
#   scripts/cuda-compile-check.sh [FILE.cu ...]      default: every file of kernels/cuda
#
# The PTX stays in .cuda/ptx/: made for compute_80, so a driver can finish it for any later GPU.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
architectures=(sm_80 sm_90 sm_100)
ptx=$root/.cuda/ptx
log=$root/.cuda/log

if [ ! -x "$root/.cuda/home/bin/ptxas" ]; then "$root/scripts/cuda-setup.sh"; fi
export PATH=$root/.cuda/home/bin:$PATH
mkdir -p "$ptx" "$log" "$root/.cuda/include"
cargo run --quiet --release --locked --manifest-path "$root/Cargo.toml" -p growthpath-statistics --example cuda_header \
    >"$root/.cuda/include/attention_stats.cuh"
sources=("$@")
if [ ${#sources[@]} = 0 ]; then sources=("$root"/kernels/cuda/*.cu); fi

compile() {
    local name
    name=$(basename "$1" .cu)
    local virtual=compute_80 targets=("${architectures[@]}")
    # What warpgroups multiply is for compute capability 9.0 alone.
    case $name in *_group) virtual=compute_90a targets=(sm_90a) ;; esac
    nvcc -ptx -std=c++17 -arch="$virtual" -Werror all-warnings -I "$root/.cuda/include" -o "$ptx/$name.ptx" "$1" || return 1
    for arch in "${targets[@]}"; do
        ptxas -v -O3 -arch="$arch" -o /dev/null "$ptx/$name.ptx" 2>"$log/$name.$arch" || {
            cat "$log/$name.$arch" >&2
            return 1
        }
    done
}
export -f compile
export root ptx log
export architectures_list="${architectures[*]}"

# At most two at a time, at low priority: a laptop stays usable.
printf '%s\0' "${sources[@]}" |
    nice xargs -0 -n 1 -P 2 bash -c 'read -ra architectures <<<"$architectures_list"; compile "$1"' compile || {
    echo "cuda-compile-check: a kernel did not compile" >&2
    exit 1
}

python3 - "$log" "${architectures[*]}" "${sources[@]}" <<'PY'
import os, re, sys

log, architectures, sources = sys.argv[1], sys.argv[2].split(), sys.argv[3:]
rows, bad = {}, []
for source in sources:
    name = os.path.splitext(os.path.basename(source))[0]
    for arch in ["sm_90a"] if name.endswith("_group") else architectures:
        text = open(f"{log}/{name}.{arch}").read()
        # Said before the entries that it is about.
        for kernel in re.findall(r"\(C75\d\d\).*function '([^']+)'", text):
            bad.append(f"{kernel} on {arch}: the compiler serialized its warpgroup products")
        for entry in re.split(r"Compiling entry function '", text)[1:]:
            kernel = entry.split("'", 1)[0]
            number = lambda pattern: int((re.search(pattern, entry) or [0, 0])[1])
            use = dict(
                registers=number(r"Used (\d+) registers"),
                shared=number(r"(\d+) bytes smem"),
                spills=number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads"),
                stack=number(r"(\d+) bytes stack frame"),
            )
            rows.setdefault((name, kernel), {})[arch] = use
            if use["spills"] or use["stack"]:
                bad.append(f"{kernel} on {arch}: {use['spills']} bytes spilled, {use['stack']} bytes of stack")

wide = max(len(kernel) for _, kernel in rows)
print(f"{'kernel':<{wide}}  {'registers ' + ' / '.join(a[3:] for a in architectures):>24}  {'shared bytes':>12}  {'spilled':>7}")
for (_, kernel), use in sorted(rows.items()):
    of = lambda a: use.get(a) or use.get(a + "a")  # sm_90a is sm_90 with its own instructions
    registers = " / ".join(f"{of(a)['registers']:>3}" if of(a) else "  -" for a in architectures)
    shared = max(u["shared"] for u in use.values())
    spills = max(u["spills"] for u in use.values())
    print(f"{kernel:<{wide}}  {registers:>24}  {shared:>12}  {spills:>7}")
print(f"{len(rows)} kernels, {len(architectures)} architectures")
for line in bad:
    print(f"cuda-compile-check: {line}", file=sys.stderr)
sys.exit(bool(bad))
PY
