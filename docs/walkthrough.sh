#!/usr/bin/env bash
# Plays docs/walkthrough.md and docs/kubectl.md on a cluster of its own, kills its leader under load, and cleans up.
set -euo pipefail
cd "$(dirname "$0")/.."

export PATH="$PWD/bin:$PATH:/usr/sbin:/sbin"
export TRIREME_DATA_DIR; TRIREME_DATA_DIR=$(mktemp -d /tmp/trireme-walkthrough.XXXXXX)
# A home of its own: the person's kubeconfig is not touched.
export HOME="$TRIREME_DATA_DIR/home"; mkdir -p "$HOME"
export KUBECONFIG="$TRIREME_DATA_DIR/admin.kubeconfig"
export BASE_PORT=${BASE_PORT:-27443}
trap 'status=$?; kctl stop --wipe >/dev/null 2>&1 || true; rm -rf "$TRIREME_DATA_DIR"; exit $status' EXIT

kchaos-real play docs/walkthrough.md
kchaos-real play docs/kubectl.md

url=$(kctl service hello-node --url)
cluster_ip=$(kctl get service hello-node -o "jsonpath={.spec.clusterIP}")
kchaos-real failover --kctl "$PWD/bin/kctl" --kills "${KILLS:-10}" --url "$url" --url "http://$cluster_ip:8080/"
kchaos-real play docs/clean-up.md
