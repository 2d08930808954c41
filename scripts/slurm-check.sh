#!/usr/bin/env bash
# usage: slurm-check.sh GROWTHPATH_BINARY
# The scripts of `study --launcher slurm` through a real slurmctld and slurmd on loopback: the job arrays and the collecting
# step of studies/quick.toml, and what it does with a run that fails. The tables must be those of a study trained without Slurm.
# Debian: installs slurm-wlm and munge where they are missing. Starts and stops daemons of its own only; needs root.
set -euo pipefail
bin=$(realpath "$1")
plan=$(realpath "$(dirname "$0")/../studies/quick.toml")
[ "$(id -u)" = 0 ] || { echo "slurm-check: needs root, to start slurmctld and slurmd"; exit 1; }
if ! command -v slurmctld slurmd sbatch munged >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null
fi

dir=$(mktemp -d)
chmod 755 "$dir"
pids=()
stop() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$dir"
}
trap stop EXIT

# munge: a key and a socket of our own.
mkdir -p "$dir/munge" "$dir/state" "$dir/spool" "$dir/log"
dd if=/dev/urandom of="$dir/munge/key" bs=1024 count=1 status=none
chmod 700 "$dir/munge"
chmod 400 "$dir/munge/key"
munged --foreground --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/munge/pid" \
    --log-file="$dir/log/munged" --seed-file="$dir/munge/seed" > "$dir/log/munged.out" 2>&1 &
pids+=($!)

host=$(hostname -s)
cores=$(nproc)
cat > "$dir/slurm.conf" <<CONF
ClusterName=loopback
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/log/slurmctld
SlurmdLogFile=$dir/log/slurmd
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores State=UNKNOWN
PartitionName=loop Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF="$dir/slurm.conf"
until [ -S "$dir/munge/socket" ]; do sleep 0.1; done
slurmctld -D > "$dir/log/slurmctld.out" 2>&1 &
pids+=($!)
slurmd -D -N "$host" > "$dir/log/slurmd.out" 2>&1 &
pids+=($!)
for _ in $(seq 100); do
    sinfo -h -o %t 2>/dev/null | grep -q '^idle$' && break
    sleep 0.3
done
sinfo -h -o %t | grep -q '^idle$' || { tail -n 20 "$dir"/log/*; echo "slurm-check: no node came up"; exit 1; }
sinfo --version

cd "$dir"
drain() { while [ -n "$(squeue -h)" ]; do sleep 0.5; done; }

"$bin" study "$plan" --out array --launcher slurm --sbatch=--partition=loop --threads 1
bash array/slurm/submit.sh
drain
"$bin" study "$plan" --out plain --quiet > plain.txt
for table in array/tables/* array/results.md array/study.json; do
    cmp "$table" "plain/${table#array/}"
done
grep -q "gpt+slow against gpt" array/slurm/logs/growthpath-collect-*.txt

# A run that cannot be trained: the others are, the tables are made, and say so.
"$bin" study "$plan" --out broken --launcher slurm --sbatch=--partition=loop > /dev/null
mkdir -p broken/gpt+slow-seed2
echo '{}' > broken/gpt+slow-seed2/run.json
bash broken/slurm/submit.sh
drain
grep -q "| gpt+slow | 2 | failed" broken/tables/runs.md
test "$(grep -c '| complete |' broken/tables/runs.md)" -eq 3
grep -q "1 of 6 runs did not finish: gpt+slow-seed2" broken/slurm/logs/growthpath-collect-*.txt

# Mended and submitted again: only what is missing is trained.
rm -r broken/gpt+slow-seed2
before=$(stat -c %Y broken/gpt-seed1/manifest.json)
bash broken/slurm/submit.sh
drain
test "$(stat -c %Y broken/gpt-seed1/manifest.json)" = "$before"
for table in broken/tables/*; do cmp "$table" "plain/${table#broken/}"; done
echo "slurm: passed"
