# The parts of gpu-check.sh; sourced with $bin, $out, $quick, $python and $here set. A part leaves its lines of the last
# table in $out/PART.summary.

small=(--size nano --set width=64 --set heads=2 --set layers=2 --set context=64 --batch 2 --reliance-sequences 0 --quiet)

part_kernels() {
    "$bin" check-device --all ${quick:+--quick} | tee "$out/kernels.txt"
    tail -n 1 "$out/kernels.txt" >"$out/kernels.summary"
}

part_sanitizer() {
    if ! command -v compute-sanitizer >/dev/null; then
        echo "sanitizer: skipped, compute-sanitizer is not on the PATH" | tee "$out/sanitizer.summary"
        return
    fi
    : >"$out/sanitizer.summary"
    local tool
    for tool in memcheck racecheck initcheck synccheck; do
        local flags=(--tool "$tool" --error-exitcode 9 --print-limit 20)
        # Library kernels (cuBLAS) are not ours to check for races.
        case $tool in racecheck) flags+=(--kernel-name-exclude kernel_substring=gemm) ;; esac
        echo "== $tool: kernels"
        compute-sanitizer "${flags[@]}" "$bin" check-device --quick
        echo "== $tool: two training steps"
        rm -rf "$out/sanitized"
        compute-sanitizer "${flags[@]}" "$bin" train "${small[@]}" --steps 2 --eval-sequences 2 --probe-every 0 \
            --device cuda --precision bf16 --out "$out/sanitized"
        echo "$tool: clean" >>"$out/sanitizer.summary"
    done
    rm -rf "$out/sanitized"
}

# Rounding differs at every operation and training multiplies differences; at this learning rate fifty steps of two
# float32 runs that differ in the order of their sums stay within 2e-2 of a column's size (measured on the emulator).
part_agreement() {
    local preset steps=50
    if [ -n "$quick" ]; then steps=5; fi
    : >"$out/agreement.summary"
    for preset in gpt llama; do
        local flags=(--preset "$preset" "${small[@]}" --steps $steps --lr 1e-3 --probe-every 10 --eval-sequences 8)
        rm -rf "$out/cpu-$preset" "$out/gpu-$preset"
        "$bin" train "${flags[@]}" --device cpu --out "$out/cpu-$preset"
        "$bin" train "${flags[@]}" --device cuda --out "$out/gpu-$preset"
        "$bin" verify "$out/gpu-$preset"
        "$bin" verify "$out/cpu-$preset" --against "$out/gpu-$preset" --tolerance 2e-2
        echo "$preset: $steps steps on the CPU and on the GPU, every column within 2e-2 of its size" >>"$out/agreement.summary"
    done
}

# size -> width layers heads context batch, as `--size` has them
shape_of() {
    case $1 in
    nano) echo 64 2 2 64 2 ;;
    micro) echo 128 8 4 128 16 ;;
    mini) echo 256 8 8 256 8 ;;
    124m) echo 768 12 12 1024 32 ;;
    270m) echo 1024 18 16 1024 32 ;;
    esac
}

# bench_flags SIZE ROUNDS STEPS: what `bench` is given
bench_flags() {
    if [ -n "$quick" ]; then
        echo --preset gpt "${small[@]:0:12}" --device cuda --precision bf16 --no-probes --rounds 1 --block 2 --quick
    else
        echo --preset gpt --size "$1" --device cuda --precision bf16 --no-probes --rounds "$2" --block "$3" --tokenizer gpt2
    fi
}

part_speed() {
    : >"$out/speed.summary"
    local size sizes=(micro mini 124m 270m) steps
    if [ -n "$quick" ]; then sizes=(nano); fi
    for size in "${sizes[@]}"; do
        steps=6
        case $size in micro | mini) steps=60 ;; esac
        # shellcheck disable=SC2046 # words
        "$bin" bench $(bench_flags "$size" 4 $steps) | tee "$out/speed-$size.txt"
        {
            echo "$size:"
            grep -E 'step without|statistics at every|launches and|large copy|operations' "$out/speed-$size.txt" | sed 's/^/  /'
        } >>"$out/speed.summary"
    done
}

part_budgets() {
    local size=124m
    if [ -n "$quick" ]; then size=nano; fi
    "$python" "$here/gpu-budgets.py" "$out/speed-$size.txt" | tee "$out/budgets.summary"
}

part_quick() {
    # shellcheck disable=SC2046
    "$bin" check-device --quick | tail -n 1 | tee "$out/quick.summary"
    "$bin" bench $(bench_flags 124m 1 6) | tee "$out/quick.txt"
    grep -E 'step without' "$out/quick.txt" >>"$out/quick.summary"
    "$python" "$here/gpu-budgets.py" "$out/quick.txt" attention | tee -a "$out/quick.summary"
}

part_probe() {
    local flags=(--size 124m --tokenizer gpt2)
    if [ -n "$quick" ]; then flags=("${small[@]:0:12}" --quick); fi
    "$bin" bench --preset gpt "${flags[@]}" --device cuda --precision bf16 --rounds 1 --block 2 >"$out/probe.txt"
    grep probe "$out/probe.txt" | tee "$out/probe.summary"
}

# rate SIZE MODE STEPS: tokens a second of PyTorch; the vocabulary padded to a multiple of 64, as growthpath pads it
rate() {
    # shellcheck disable=SC2046
    "$python" "$here/bench_pytorch_cuda.py" $(shape_of "$1") 50304 4 "$3" bf16 "$2"
}

# full SIZE: growthpath's tokens a second with all statistics of every step recorded
full() {
    awk '/^step without telemetry/ { match($0, /[0-9]+ tokens/); rate = substr($0, RSTART, RLENGTH) + 0 }
        /^statistics at every step/ { a = $5 } /^recording them/ { b = $3 }
        END { if (rate) printf "%.0f", rate / (1 + a / 100) / (1 + b / 100) }' "$out/speed-$1.txt" 2>/dev/null || true
}

part_pytorch() {
    if ! "$python" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
        echo "pytorch: skipped, $python has no torch with CUDA" | tee "$out/pytorch.summary"
        return
    fi
    : >"$out/pytorch.summary"
    local size mode steps theirs ours modes
    echo "tokens/s; growthpath records every statistic of every step" | tee -a "$out/pytorch.summary"
    printf '%-6s %-14s %12s %14s %7s\n' size PyTorch tokens/s growthpath ratio | tee -a "$out/pytorch.summary"
    for size in micro mini 124m 270m; do
        ours=$(full "$size")
        steps=6 modes=(compile) # each compilation takes its twenty seconds
        case $size in micro | mini) steps=60 ;; 124m) modes=(eager compile eager+hooks) ;; esac
        for mode in "${modes[@]}"; do
            theirs=$(rate "$size" "$mode" $steps)
            printf '%-6s %-14s %12s %14s %7s\n' "$size" "$mode" "$theirs" "${ours:-?}" \
                "$(awk -v a="${ours:-0}" -v b="$theirs" 'BEGIN { printf "%.2f", a / b }')" | tee -a "$out/pytorch.summary"
        done
    done
}
