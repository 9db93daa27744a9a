#!/usr/bin/env bash
# Plays Helm on the cluster of KUBECONFIG: the chart that `helm create` makes is installed, upgraded, rolled back, tested and
# uninstalled. `helm` is the one in PATH; if there is none, it is built with Go once a machine, outside of the clone.
set -euo pipefail

VERSION=v4.3.1
check() { if [ "$2" != "$3" ]; then echo "helm: $1: expected '$3', found '$2'" >&2; exit 1; fi; echo "helm: $1 ... ok"; }

helm=$(command -v helm || true)
if [ -z "$helm" ]; then
    if ! command -v go >/dev/null; then
        echo "helm: left out: there is neither helm nor Go in PATH" >&2
        exit 0
    fi
    folder=$TRIREME_CACHE/clients/helm-$VERSION
    helm=$folder/helm
    if [ ! -x "$helm" ] && ! GOBIN=$folder GOFLAGS=-buildvcs=false go install "helm.sh/helm/v4/cmd/helm@$VERSION"; then
        echo "helm: left out: Go could not build it" >&2
        exit 0
    fi
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/trireme-helm.XXXXXX")
export HELM_CACHE_HOME=$work/cache HELM_CONFIG_HOME=$work/config HELM_DATA_HOME=$work/data
trap 'rm -rf "$work"' EXIT
cd "$work"
"$helm" create web >/dev/null
# The images that every node of the house has; hello-node listens on 8080.
values=(--set image.repository=hello-node --set service.port=8080 --set serviceAccount.name=helmed)

image() { kubectl get deployment web -o 'jsonpath={.spec.template.spec.containers[0].image} {.spec.replicas} {.status.readyReplicas}'; }
history() { "$helm" history web -o json | python3 -c 'import json, sys; print([(it["revision"], it["status"]) for it in json.load(sys.stdin)])'; }

"$helm" install web ./web "${values[@]}" --set image.tag=v1 --wait --timeout 2m >/dev/null
check "a chart is installed" "$(image)" "hello-node:v1 1 1"
"$helm" upgrade web ./web "${values[@]}" --set image.tag=v2,replicaCount=2 --wait --timeout 2m >/dev/null
check "it is upgraded" "$(image)" "hello-node:v2 2 2"
"$helm" rollback web 1 --wait --timeout 2m >/dev/null
check "it is rolled back" "$(image)" "hello-node:v1 1 1"
check "its history is kept" "$(history)" "[(1, 'superseded'), (2, 'superseded'), (3, 'deployed')]"
"$helm" test web --timeout 2m >/dev/null
check "its test passes" "$(kubectl get pod web-test-connection -o 'jsonpath={.status.phase}')" Succeeded
refused=$("$helm" install web ./web "${values[@]}" 2>&1) && refused="taken again"
case $refused in *"a name that is still in use"*) refused=refused ;; esac
check "a name is taken once" "$refused" refused
kubectl delete pod web-test-connection --wait >/dev/null
"$helm" uninstall web --wait --timeout 2m >/dev/null
kubectl wait --for=delete pod -l app.kubernetes.io/instance=web --timeout=2m >/dev/null # what they were given to end in
left=$(kubectl get all,serviceaccounts,secrets -l app.kubernetes.io/instance=web -o name)$(kubectl get secrets -l owner=helm -o name)
check "it is uninstalled, and nothing of it is left" "$left" ""
