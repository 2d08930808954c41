#!/usr/bin/env bash
# usage: bench-vs-pytorch.sh [GROWTHPATH_BINARY] [PYTHON] [SIZE...]
# The same model and optimizer in growthpath and in PyTorch on this CPU, in alternation (A B A B ...), float32.
# Prints tokens a second and ratios; skips with a message where torch cannot be imported.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bin=$(realpath "${1:-$here/../target/release/growthpath}")
python=${2:-python3}
shift $(($# < 2 ? $# : 2))
sizes=("${@:-micro}")
threads=${THREADS:-$(nproc)}
rounds=${ROUNDS:-4}
vocab=2048

if ! "$python" -c 'import torch' 2>/dev/null; then
    echo "skipped: $python cannot import torch (pip install torch)"
    exit 0
fi
"$python" -c 'import torch; print("torch", torch.__version__, "on the CPU")'

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
# Any text with enough words for the vocabulary: the built-in corpus has too few.
"$python" - "$tmp/words.txt" <<'PY'
import random, sys
random.seed(1)
words = ["".join(random.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(random.randint(2, 9))) for _ in range(6000)]
with open(sys.argv[1], "w") as f:
    for _ in range(40000):
        f.write(" ".join(random.choices(words, k=12)) + ".\n")
PY

median() { sort -g | awk '{v[NR]=$1} END {print (NR%2) ? v[(NR+1)/2] : (v[NR/2]+v[NR/2+1])/2}'; }

for size in "${sizes[@]}"; do
    case $size in
        nano) shape="64 4 4 64 8" ;;
        micro) shape="128 8 4 128 16" ;;
        mini) shape="256 8 8 256 8" ;;
        *) echo "unknown size $size (nano, micro, mini)"; exit 2 ;;
    esac
    ours=("$bin" bench --preset gpt --size "$size" --data "$tmp/words.txt" --tokenizer "bpe:$vocab"
          --threads "$threads" --rounds 2 --block 10)
    for mode in off every; do : > "$tmp/ours-$mode"; done
    for mode in plain hooks; do : > "$tmp/torch-$mode"; done
    for ((i = 0; i < rounds; i++)); do
        "${ours[@]}" --only off >> "$tmp/ours-off"
        "$python" "$here/bench_pytorch.py" $shape $vocab 2 10 plain "$threads" >> "$tmp/torch-plain"
        "${ours[@]}" --only every >> "$tmp/ours-every"
        "$python" "$here/bench_pytorch.py" $shape $vocab 2 10 hooks "$threads" >> "$tmp/torch-hooks"
    done
    printf '%s, %s threads, vocabulary %s, median of %s alternating rounds, tokens/s\n' "$size" "$threads" "$vocab" "$rounds"
    printf '%-34s %10s %10s %8s\n' "" growthpath PyTorch ratio
    for pair in "off plain no-logging" "every hooks per-head-statistics,every-step"; do
        read -r a b name <<< "$pair"
        x=$(median < "$tmp/ours-$a"); y=$(median < "$tmp/torch-$b")
        printf '%-34s %10.0f %10.0f %8.2f\n' "$name" "$x" "$y" "$(awk "BEGIN {print $x/$y}")"
    done
done
