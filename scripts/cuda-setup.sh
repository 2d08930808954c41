#!/usr/bin/env bash
# Installs a CUDA 13.0 compiler from Python wheels into the ignored folder .cuda/ of this repository.
#
#   scripts/cuda-setup.sh          nvcc and ptxas only: enough for cuda-compile-check.sh (105 MB to download)
#   scripts/cuda-setup.sh --link   also the libraries that `--features cuda` links against (675 MB in all)
#   scripts/cuda-setup.sh --env    print the environment for a build, to be eval'ed
#
# Needs python3 with pip, and gcc with its C++ half. Needs neither a GPU nor a driver. Running it twice is cheap.
# The versions are pinned to 13.0: newer compilers write PTX that a 580 driver may refuse.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dest=$root/.cuda
site=$dest/site
home=$dest/home

compiler=(nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88
    nvidia-cuda-cccl==13.0.85 nvidia-cuda-runtime==13.0.96)
libraries=(nvidia-cublas==13.0.2.14 nvidia-curand==10.4.0.35 nvidia-cuda-nvrtc==13.0.88
    nvidia-cuda-culibos==13.0.85)

usage() { sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

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

# Builds a stand-in libcuda to link against where no driver is installed: every entry point returns error 3.
lay_driver_stub() {
    local header=$home/include/cuda.h source=$dest/stub.c
    { gcc -E -P -I"$home/include" -x c "$header" | grep -oE '\bcu[A-Z][A-Za-z0-9_]*[[:space:]]*\(' | tr -d ' ('
      grep -oE '\bcu[A-Z][A-Za-z0-9]*(_v[0-9]+)?(_ptds|_ptsz)?\b' "$header"
    } | sort -u | awk '{ print "int " $1 "(void) { return 3; }" }' >"$source"
    gcc -w -shared -fPIC -nostdlib -Wl,-soname,libcuda.so.1 -o "$home/lib/stubs/libcuda.so" "$source"
    ln -sfn libcuda.so "$home/lib/stubs/libcuda.so.1"
}

print_env() {
    cat <<ENV
export CUDA_HOME=$home CUDA_PATH=$home CUDARC_CUDA_VERSION=13000
export PATH=$home/bin:\$PATH LIBRARY_PATH=$home/lib:$home/lib/stubs\${LIBRARY_PATH:+:\$LIBRARY_PATH}
export CUDA_COMPUTE_CAP=\${CUDA_COMPUTE_CAP:-90} CUDAFORGE_THREADS=\${CUDAFORGE_THREADS:-2}
ENV
}

case ${1-} in
"" | --link) ;;
--env) print_env; exit ;;
-h | --help) usage; exit ;;
*) echo "cuda-setup: unknown option '$1'" >&2; usage >&2; exit 2 ;;
esac
for tool in python3 gcc g++; do
    command -v "$tool" >/dev/null || { echo "cuda-setup: $tool is missing; install it first" >&2; exit 1; }
done

mkdir -p "$dest"
if [ "${1-}" = --link ]; then
    install_wheels "${compiler[@]}" "${libraries[@]}"
else
    install_wheels "${compiler[@]}"
fi
lay_home
if [ "${1-}" = --link ]; then lay_driver_stub; fi
"$home/bin/nvcc" --version | tail -n 2
echo "installed in $dest ($(du -sh "$dest" | cut -f1)); for a build: eval \"\$(scripts/cuda-setup.sh --env)\""
