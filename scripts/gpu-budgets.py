"""Holds the kernels of a training step at 124m (B 32, T 1024, bf16) against their budgets on an H100 or H200.

usage: gpu-budgets.py BENCH.txt [attention]

BENCH.txt is what `growthpath bench --device cuda --size 124m` printed. Attention has milliseconds a step; a kernel that only
moves memory has to reach 85 % of a large copy. On another device, or at another size, times are listed and not judged.
Exit code 1: a budget is exceeded.
"""

import re
import sys

MS = {"attention_fwd": 3.5, "attention_bwd": 9.0}
OF_COPY = 85
SMALL_MS = 0.2  # launches that short do not show a rate


def rows(text):
    """Kernel, ms a step, per cent of a copy (None: not bound by memory)."""
    out = []
    for line in text.splitlines():
        cells = line.split()
        if len(cells) == 6 and re.fullmatch(r"[a-z_0-9]+", cells[0]) and re.fullmatch(r"[0-9.]+", cells[2]):
            out.append((cells[0], float(cells[2]), None if cells[5] == "-" else float(cells[5])))
    return out


def family(kernel):
    """The budget that a kernel's time counts towards, if any."""
    if kernel == "attention_delta_f32" or kernel == "attention_delta_bf16":
        return "attention_bwd"
    return next((name for name in MS if kernel.startswith(name)), None)


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["attention"]):
        sys.exit(__doc__.strip())
    try:
        text = open(sys.argv[1], encoding="utf-8").read()
    except OSError as e:
        sys.exit(f"gpu-budgets: {e}")
    kernels = rows(text)
    if not kernels:
        sys.exit(f"gpu-budgets: {sys.argv[1]} has no table of kernels: is it what `bench --device cuda` printed?")
    judged = re.search(r"H100|H200", text) and any(k.endswith("_d64_bf16") for k, _, _ in kernels)
    failed = False
    print(f"{'kernel':<28} {'measured':>12} {'budget':>12}  verdict")

    def line(name, measured, budget, within):
        nonlocal failed
        verdict = "not judged here" if not judged else "PASS" if within else "FAIL"
        failed |= verdict == "FAIL"
        print(f"{name:<28} {measured:>12} {budget:>12}  {verdict}")

    for name, budget in MS.items():
        ms = sum(t for k, t, _ in kernels if family(k) == name)
        line(name, f"{ms:.2f} ms", f"{budget:.1f} ms", 0 < ms <= budget)
    for kernel, ms, of_copy in kernels if len(sys.argv) == 2 else []:
        if of_copy is not None and family(kernel) is None and (ms >= SMALL_MS or not judged):
            line(kernel, f"{of_copy:.0f} % copy", f"{OF_COPY} % copy", of_copy >= OF_COPY)
    if not judged:
        print("budgets are for 124m in bf16 on an H100 or H200")
    sys.exit(1 if failed else 0)


main()
