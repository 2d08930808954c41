#!/usr/bin/env bash
# Installs a CUDA 13.0 compiler from Python wheels into the ignored folder .cuda/ of this repository.
#
#   scripts/cuda-setup.sh
#
# nvcc and ptxas for cuda-compile-check.sh and for PTX in a `--features cuda` build (GROWTHPATH_NVCC=.cuda/home/bin/nvcc),
# NVRTC for cuda-train-check.sh. Nothing is linked: a program with the `cuda` feature opens its libraries at run time.
# Needs python3 with pip, and gcc with its C++ half. Needs neither a GPU nor a driver. Running it twice is cheap.
# The versions are pinned to 13.0: newer compilers write PTX that a 580 driver may refuse.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dest=$root/.cuda
site=$dest/site
home=$dest/home

compiler=(nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88
    nvidia-cuda-cccl==13.0.85 nvidia-cuda-runtime==13.0.96 nvidia-cuda-nvrtc==13.0.88)
usage() { sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

# Installs exactly these pinned wheels, in one go: pip's --target replaces the folder that the wheels share.
install_wheels() {
    local stamp=$dest/pins
    case $(cat "$stamp" 2>/dev/null) in "$*"*) return ;; esac # these, or these and more, are there already
    rm -f "$stamp"
    PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-deps --no-compile \
        --upgrade --target "$site" "$@"
    echo "$*" >"$stamp"
}

# Lays a conventional CUDA_HOME of links over the wheels, which lack lib64 and the unversioned library names.
lay_home() {
    local src=$site/nvidia/cu13 lib name
    mkdir -p "$home/lib/stubs"
    for name in bin include nvvm; do ln -sfn "$src/$name" "$home/$name"; done
    ln -sfn lib "$home/lib64"
    for lib in "$src"/lib/*; do
        [ -e "$lib" ] || continue
        name=$(basename "$lib")
        ln -sfn "$lib" "$home/lib/$name"
        case $name in
        *alt*) ;; # an alternative build of the same library, never the one to link
        *.so.*) ln -sfn "$name" "$home/lib/${name%%.so.*}.so" ;;
        esac
    done
}

case ${1-} in
"") ;;
-h | --help) usage; exit ;;
*) echo "cuda-setup: unknown option '$1'" >&2; usage >&2; exit 2 ;;
esac
for tool in python3 gcc g++; do
    command -v "$tool" >/dev/null || { echo "cuda-setup: $tool is missing; install it first" >&2; exit 1; }
done

mkdir -p "$dest"
install_wheels "${compiler[@]}"
lay_home
"$home/bin/nvcc" --version | tail -n 2
echo "installed in $dest ($(du -sh "$dest" | cut -f1))"
