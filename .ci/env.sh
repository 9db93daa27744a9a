# Sourced by the Makefile and .ci/run: where builds go, and the RocksDB that is built once a machine.
export TRIREME_CACHE="${TRIREME_CACHE:-$HOME/.cache/trireme}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$TRIREME_CACHE/target}"
export ROCKSDB_LIB_DIR="$TRIREME_CACHE/rocksdb-11.8.1"
export ROCKSDB_STATIC=1
for dir in /usr/lib/llvm-*/lib; do
    if [ -e "$dir" ]; then export LIBCLANG_PATH="$dir"; fi
done
export PATH="$PATH:/usr/sbin:/sbin"
