#!/usr/bin/env bash
# Licences, sources and banned crates; installs cargo-deny once a machine.
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/env.sh

deny="$TRIREME_CACHE/bin/cargo-deny"
if [ ! -x "$deny" ]; then
    echo "installing cargo-deny once for this machine"
    env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC CARGO_TARGET_DIR="$TRIREME_CACHE/deny-build" \
        cargo install --quiet --locked cargo-deny --version 0.20.2 --root "$TRIREME_CACHE"
    rm -rf "$TRIREME_CACHE/deny-build"
fi
"$deny" --offline --log-level warn check --hide-inclusion-graph bans licenses sources
