#!/usr/bin/env bash
# Builds RocksDB's C++ once a machine (about ten minutes on two cores) and keeps the library outside every
# target directory: no profile, flag or fresh clone compiles it again.
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/env.sh

[ -e "$ROCKSDB_LIB_DIR/librocksdb.a" ] && exit 0

echo "building RocksDB once for this machine: about ten minutes on two cores"
target="$TRIREME_CACHE/rocksdb-build"
env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC CARGO_TARGET_DIR="$target" \
    cargo build --locked --release --package librocksdb-sys
mkdir -p "$ROCKSDB_LIB_DIR"
library=$(find "$target" -name librocksdb.a -print -quit)
cp "$library" "$ROCKSDB_LIB_DIR/.librocksdb.a.partial"
mv "$ROCKSDB_LIB_DIR/.librocksdb.a.partial" "$ROCKSDB_LIB_DIR/librocksdb.a"
rm -rf "$target"
