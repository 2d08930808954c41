#!/usr/bin/env bash
# Runs that are killed, starved and cut off from power, then gone on with: every one must end in the bits of a run that
# nothing happened to.
#
#   scripts/torture.sh [--bin growthpath] [--kills N] [--faults N] [--power N] [--seed N] [--keep DIR]
#
#   kills   half at a random moment, half at a random system call (open, write, torn write, fsync, rename, mkdir, unlink);
#           the run is gone on with, killed again a third of the time, and gone on with to the end
#   faults  EIO once, or ENOSPC from there on, at a random system call: one clear error, then gone on with
#   power   an ext4 image is copied while the process is stopped, as a power cut would leave it; needs root and loop
#           devices, otherwise said and skipped
#
# Only what struck is counted: a kill of a process that lived, a call that failed, a cut before the end. Needs gcc. A case
# that fails leaves its folder.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=target/release/growthpath kills=20 faults=20 power=4 seed=1 keep=
while [ $# -gt 0 ]; do
    case $1 in
    --bin) bin=$2 ;; --kills) kills=$2 ;; --faults) faults=$2 ;; --power) power=$2 ;; --seed) seed=$2 ;; --keep) keep=$2 ;;
    *) echo "torture.sh: unknown argument $1" >&2; exit 2 ;;
    esac
    shift 2
done
bin=$(realpath "$bin")
if [ -n "$keep" ]; then mkdir -p "$keep" && work=$(realpath "$keep"); else work=$(mktemp -d); fi
failed=0 killed=0 faulted=0 cuts=0
cleanup() {
    echo "done: $killed kills, $faulted faults, $cuts power cuts; $failed differences or failures"
    umount "$work"/mnt 2>/dev/null || true
    if [ -z "$keep" ] && [ "$failed" = 0 ]; then rm -rf "$work"; fi
}
trap cleanup EXIT
# Told to stop: the counts so far are worth having.
trap 'exit 1' INT TERM
gcc -shared -fPIC -O1 -o "$work/faults.so" scripts/torture/faults.c -ldl
RANDOM=$seed

awk 'BEGIN { for (i = 0; i < 3000; i++) printf "%d and %d. ", i * i % 97, i % 13 }' >"$work/text"
settings=(--size nano --set layers=2 --set width=32 --set heads=2 --set context=16 --batch 2 --steps 40 --data "$work/text"
    --probe-every 9 --probe-sequences 2 --reliance-sequences 2 --eval-sequences 4 --checkpoint-every 13 --dump-step 20
    --intervene upper-qk --hold 0.5 --maturity-lag 0.1)
# Checkpoints by the clock every 30 ms.
always=(--threads 1 --quiet --checkpoint-minutes 0.0005)
tables="steps heads writes evals eval-losses probe probe-layers shares maturity settling reliance"

# Everything of a finished run but times: hashes of its tables, its last checkpoint and its tokens.
digest() {
    local run=$1 table
    for table in $tables; do
        # The time of a step, its last column, is no result.
        "$bin" export "$run" --table "$table" | if [ "$table" = steps ]; then sed 's/,[^,]*$//'; else cat; fi | sha256sum
    done
    (cd "$run" && sha256sum checkpoints/step-40/{config.json,model.safetensors,optimizer.safetensors,state.json,tokenizer.json} \
        checkpoints/step-13/model.safetensors checkpoints/step-26/model.safetensors tokens.safetensors dumps/step-20.safetensors)
    ls "$run/checkpoints"
}

# The command that starts a run, or goes on with what is there.
choose() {
    if [ ! -e "$1/run.json" ]; then
        command=("$bin" train --out "$1" "${settings[@]}" "${always[@]}")
    elif grep -q '"status": "complete"' "$1/run.json"; then
        command=(true)
    else
        command=("$bin" train --resume --out "$1" "${always[@]}")
    fi
}

go() {
    choose "$1"
    "${command[@]}"
}

fail() {
    failed=$((failed + 1))
    echo "FAILED: $*" >&2
    cp -r "$run" "$work/failed-$failed" 2>/dev/null || true
}

# What a cut run must be before anything mends it: readable, with every identity.
whole() {
    if [ -e "$1/run.json" ] && ! "$bin" verify "$1" >"$work/verify.log" 2>&1; then
        fail "$2: verify after the cut: $(tail -3 "$work/verify.log" | tr '\n' ' ')"
    fi
}

# Go on to the end, and compare.
finish() {
    local what=$2
    if ! go "$run" >"$work/finish.log" 2>&1; then
        fail "$what: cannot go on: $(tail -2 "$work/finish.log")"
    elif ! "$bin" verify "$run" >"$work/verify.log" 2>&1; then
        fail "$what: verify at the end: $(tail -3 "$work/verify.log" | tr '\n' ' ')"
    elif grep -q leftover "$work/verify.log"; then
        fail "$what: something was left: $(grep leftover "$work/verify.log")"
    elif ! digest "$run" | cmp -s - "$work/reference"; then
        fail "$what: other bits"
    fi
}

run="$work/whole"
started=$(date +%s%N)
go "$run" >/dev/null 2>&1
lasts=$((($(date +%s%N) - started) / 1000000))
digest "$run" >"$work/reference"
"$bin" verify "$run" >/dev/null

# How many calls of each kind there are.
calls=(any open write fsync rename mkdir unlink)
declare -A total
for call in "${calls[@]}"; do
    run="$work/count"
    rm -rf "$run"
    LD_PRELOAD="$work/faults.so" FAULT_ROOT="$run" FAULT_CALL=$call FAULT_COUNT="$work/count.txt" go "$run" >/dev/null 2>&1
    total[$call]=$(cat "$work/count.txt")
done
digest "$run" | cmp - "$work/reference"
kinds=()
for call in "${calls[@]}"; do
    if [ "${total[$call]}" -gt 0 ]; then kinds+=("$call"); fi
done
echo "a run lasts $lasts ms and makes ${total[any]} calls: $(for c in "${calls[@]:1}"; do printf '%s %s  ' "$c" "${total[$c]}"; done)"

random() { echo $(((RANDOM * 32768 + RANDOM) % $1)); }

# Sleeps for a random part of the time that a run takes.
sleep_within() {
    sleep "$(awk -v ms="$(random $((lasts + 20)))" 'BEGIN { print ms / 1000 }')"
}

# How long a run takes follows the load of the machine: shorter where the moment came too late.
adapt() {
    if [ "$1" = hit ]; then lasts=$((lasts + lasts / 20 + 1)); else lasts=$((lasts - lasts / 5)); fi
}

# One command that dies: at a moment, or at a call. False where it ended before that.
dies() {
    local code=0
    if [ $(($1 % 2)) = 0 ]; then
        choose "$run"
        "${command[@]}" >/dev/null 2>&1 &
        local child=$!
        sleep_within
        kill -KILL $child 2>/dev/null || true
        wait $child 2>/dev/null || code=$?
        if [ $code = 137 ]; then adapt hit; else adapt miss; fi
    else
        call=${kinds[$(random ${#kinds[@]})]}
        local how=kill
        if [ "$call" = write ] && [ $(($1 % 4)) = 1 ]; then how=torn; fi
        LD_PRELOAD="$work/faults.so" FAULT_ROOT="$run" FAULT_CALL=$call FAULT_AT=$((1 + $(random "${total[$call]}"))) \
            FAULT_DO=$how go "$run" >/dev/null 2>&1 || code=$?
    fi
    [ $code = 137 ]
}

run="$work/run"
case_=0
while [ $killed -lt "$kills" ]; do
    case_=$((case_ + 1))
    rm -rf "$run"
    dies $case_ || continue
    killed=$((killed + 1))
    whole "$run" "kill $case_"
    while [ $killed -lt "$kills" ] && [ "$(random 3)" = 0 ]; do
        dies "$(random 1000)" || break
        killed=$((killed + 1))
        whole "$run" "kill $case_, again"
    done
    finish "$run" "kill $case_"
done
i=0
while [ $faulted -lt "$faults" ]; do
    i=$((i + 1))
    rm -rf "$run" "$work/struck"
    call=${kinds[$(random ${#kinds[@]})]}
    at=$((1 + $(random "${total[$call]}")))
    how=$([ $((i % 2)) = 0 ] && echo eio || echo enospc)
    code=0
    LD_PRELOAD="$work/faults.so" FAULT_ROOT="$run" FAULT_CALL=$call FAULT_AT=$at FAULT_DO=$how FAULT_MARK="$work/struck" \
        go "$run" >"$work/fault.log" 2>&1 || code=$?
    if [ ! -e "$work/struck" ]; then continue; fi
    faulted=$((faulted + 1))
    what="fault $i: $how at $call $at"
    # An error that did no harm, as in removing what is no longer needed, may pass.
    if [ $code -gt 1 ] || grep -q panicked "$work/fault.log" || { [ $code = 1 ] && ! grep -q "growthpath: error: " "$work/fault.log"; }; then
        fail "$what: exit code $code: $(tail -2 "$work/fault.log")"
    fi
    whole "$run" "$what"
    finish "$run" "$what"
done
cut() {
    local options=$1 child mounted="$work/mnt" image="$work/image"
    cp --sparse=always "$work/empty" "$image"
    mkdir -p "$mounted"
    mount -o "loop,$options" "$image" "$mounted"
    run="$mounted/run"
    "$bin" train --out "$run" "${settings[@]}" "${always[@]}" >/dev/null 2>&1 &
    child=$!
    sleep_within
    kill -STOP $child 2>/dev/null || true
    # What the disk has been given so far; the rest is in the system's memory and goes with the power.
    cp --sparse=always "$image" "$work/after"
    kill -KILL $child 2>/dev/null || true
    local code=0
    wait $child 2>/dev/null || code=$?
    umount "$mounted"
    if [ $code != 137 ]; then
        adapt miss
        return 0
    fi
    adapt hit
    cuts=$((cuts + 1))
    mount -o loop "$work/after" "$mounted"
    whole "$run" "$2"
    finish "$run" "$2"
    umount "$mounted"
}

if [ "$power" -gt 0 ]; then
    truncate -s 64M "$work/empty"
    mkdir -p "$work/mnt"
    if command -v mkfs.ext4 >/dev/null && mkfs.ext4 -q -F "$work/empty" && mount -o loop "$work/empty" "$work/mnt" 2>/dev/null; then
        umount "$work/mnt"
        # Without the file system's own guard against empty files after a rename, and with its weakest ordering.
        modes=(data=ordered data=ordered,noauto_da_alloc data=writeback,noauto_da_alloc)
        i=0
        while [ $cuts -lt "$power" ]; do
            i=$((i + 1))
            cut "${modes[$((i % 3))]},commit=$((1 + i % 5))" "power cut $i"
        done
    else
        echo "power cuts: skipped, they need root, mkfs.ext4 and loop devices"
    fi
fi
if [ $failed -gt 0 ]; then
    echo "$failed failed; see $work" >&2
    exit 1
fi
