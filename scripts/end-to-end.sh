#!/usr/bin/env bash
# usage: end-to-end.sh GROWTHPATH_BINARY
# Train, verify, analyse, compare, draw and report through the program, on the built-in corpus, in a fresh folder.
set -euo pipefail
bin=$(realpath "$1")
here=$(realpath "$(dirname "$0")")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

"$bin" train --preset gpt --size nano --steps 60 --probe-every 5 --out gpt --quiet
"$bin" train --preset gpt --size nano --steps 60 --probe-every 5 --intervene upper-qk --out slow --quiet
"$bin" train --preset llama --size nano --steps 60 --probe-every 5 --out llama --quiet
for run in gpt slow llama; do "$bin" verify "$run"; done
"$bin" analyze gpt
"$bin" analyze gpt --json > analysis.json
grep -q "worst_cumulative" analysis.json
"$bin" compare gpt slow --layers upper
"$bin" plot gpt slow llama --figure all --out figures
test "$(ls figures/*.png | wc -l)" -ge 10
"$bin" report gpt slow llama --out report.html
if command -v python3 > /dev/null; then
    python3 "$here/report-check.py" report.html screenshots
else
    echo "skipped: no python3 here, the report is not opened in a browser"
fi
"$bin" inspect gpt/checkpoints/step-60
"$bin" export gpt --table heads --format csv | head -n 3
echo "end to end: passed"
