#!/usr/bin/env bash
# Plays the flows of the stock Python and JavaScript clients, and Helm's, on a cluster of its own: three masters and a node, of
# which the flows kill the master that they ask. The clients are installed once a machine, outside of the clone. As root. BASE_PORT
# says where the masters listen; arguments pick flows of Python (`FailOver`, `Custom.test_custom_objects`).
set -euo pipefail
cd "$(dirname "$0")"
. ../../.ci/env.sh

export PATH="$PWD/../../bin:$PATH:/usr/sbin:/sbin"
for program in python3 node npm kctl; do
    command -v "$program" >/dev/null || { echo "$program is not there: run \`make packages build\`" >&2; exit 1; }
done

# install FOLDER FILES COMMAND…: a folder named by its files' content, filled by the command, which runs within it.
install() {
    local kind=$1 files=$2 folder fresh
    shift 2
    folder=$TRIREME_CACHE/clients/$kind-$(cat $files | sha256sum | cut -c1-16)
    if [ ! -d "$folder" ]; then
        mkdir -p "$TRIREME_CACHE/clients"
        fresh=$(mktemp -d "$TRIREME_CACHE/clients/.$kind.XXXXXX")
        cp $files "$fresh/"
        (cd "$fresh" && "$@") >&2 || { rm -rf "$fresh"; echo "the $kind client could not be installed: is the registry within reach?" >&2; exit 1; }
        # Another run may have been faster.
        mv -T "$fresh" "$folder" 2>/dev/null || rm -rf "$fresh"
    fi
    echo "$folder"
}
python=$(install python python/requirements.txt python3 -m pip install -q --no-deps --target packages -r requirements.txt)
node=$(install node "node/package.json node/package-lock.json" npm ci --no-audit --no-fund --loglevel=error)

export TRIREME_DATA_DIR; TRIREME_DATA_DIR=$(mktemp -d /tmp/trireme-clients.XXXXXX)
export KUBECONFIG="$TRIREME_DATA_DIR/admin.kubeconfig" MASTERS="$TRIREME_DATA_DIR/masters.json"
trap 'status=$?; kctl stop --wipe >/dev/null 2>&1 || true; rm -rf "$TRIREME_DATA_DIR"; exit $status' EXIT

kctl start --masters 3 --nodes 1 --base-port "${BASE_PORT:-28743}"
kctl status | awk -v run="$TRIREME_DATA_DIR/run" '
    $1 ~ /^master-/ { list = list sep sprintf("{\"name\": \"%s\", \"url\": \"%s\", \"pid_file\": \"%s/%s.pid\"}", $1, $3, run, $1); sep = ", " }
    END { print "[" list "]" }' >"$MASTERS"

PYTHONPATH=$python/packages PYTHONDONTWRITEBYTECODE=1 python3 python/flows.py "$@"
# Modules are looked for beside the file that asks for them.
mkdir "$TRIREME_DATA_DIR/node"
cp node/*.mjs "$TRIREME_DATA_DIR/node/"
ln -s "$node/node_modules" "$TRIREME_DATA_DIR/node/node_modules"
node --test "$TRIREME_DATA_DIR/node/flows.test.mjs"
./helm.sh
