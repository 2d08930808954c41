#!/usr/bin/env bash
# Fetch 3-D emoji (MIT licence; WebP, 256 x 256) from their npm package as a small real image set.
# usage: fetch-emoji.sh DIR [faces|animals|food|all]   (default: faces). Needs npm; 16 MB.
set -euo pipefail
dir=${1:?usage: fetch-emoji.sh DIR [faces|animals|food|all]}
subset=${2:-faces}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm pack --silent @lobehub/fluent-emoji-3d@1.1.0 >/dev/null
echo "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58  lobehub-fluent-emoji-3d-1.1.0.tgz" | sha256sum --check --strict --quiet
tar xzf lobehub-fluent-emoji-3d-1.1.0.tgz
python3 - "$subset" package/assets "$dir" <<'PY'
import os, shutil, sys
subset, source, target = sys.argv[1:]
ranges = {
    "faces": [(0x1F600, 0x1F64A), (0x1F910, 0x1F917), (0x1F920, 0x1F92F), (0x1F970, 0x1F976), (0x1F978, 0x1F97A), (0x1FAE0, 0x1FAE8)],
    "animals": [(0x1F400, 0x1F43E), (0x1F980, 0x1F9AE), (0x1FABC, 0x1FABF)],
    "food": [(0x1F32D, 0x1F32F), (0x1F345, 0x1F37F), (0x1F950, 0x1F96F), (0x1F9C0, 0x1F9CB)],
    "all": [(0, 0x10FFFF)],
}
if subset not in ranges:
    sys.exit(f"unknown subset {subset}: faces, animals, food or all")
n = 0
for name in sorted(os.listdir(source)):
    first, *rest = name.removesuffix(".webp").split("-")
    if subset != "all" and rest not in ([], ["fe0f"]):
        continue
    if any(a <= int(first, 16) <= b for a, b in ranges[subset]):
        shutil.copy(os.path.join(source, name), target)
        n += 1
print(f"{n} images in {target}")
PY
