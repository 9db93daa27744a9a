#!/usr/bin/env bash
# A stock kube-apiserver, controller manager and scheduler on three kstores, through kills of the leader: what
# docs/operating/kube-on-kstore.md tells. PEERS names the folder that holds kube-apiserver, kube-controller-manager and
# kube-scheduler (v1.36), KSTORE the store's program; KILLS says how often the leader is killed.
set -euo pipefail

PEERS=${PEERS:?the folder that holds kube-apiserver, kube-controller-manager and kube-scheduler}
KSTORE=${KSTORE:-bin/kstore} KILLS=${KILLS:-5}
PORT=${PORT:-26443} STORES=3
KUBECTL=${KUBECTL:-kubectl}
DIR=$(mktemp -d "${TMPDIR:-/tmp}/kube-on-kstore.XXXXXX")
declare -A PIDS=()

stop_all() {
    local name
    for name in kube-scheduler kube-controller-manager kube-apiserver "${!PIDS[@]}"; do
        [ -z "${PIDS[$name]:-}" ] || kill "${PIDS[$name]}" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    [ -n "${KEEP:-}" ] || rm -rf "$DIR"
}
trap stop_all EXIT

say() { printf '\n== %s\n' "$*"; }
fail() { echo "FAILED: $*" >&2; tail -n 5 "$DIR"/*.log >&2; exit 1; }
launch() { # name command...
    local name=$1
    shift
    "$@" >>"$DIR/$name.log" 2>&1 </dev/null &
    PIDS[$name]=$!
}
await() { # seconds what command...
    local seconds=$1 what=$2 i
    shift 2
    for i in $(seq $((seconds * 5))); do "$@" >/dev/null 2>&1 && return 0; sleep 0.2; done
    fail "$what: not within $seconds s"
}

client() { echo "http://127.0.0.1:$((PORT + 100 + 10 * $1))"; }
peer() { echo "http://127.0.0.1:$((PORT + 101 + 10 * $1))"; }
store() { # number
    local i cluster=
    for i in $(seq $STORES); do cluster+="m$i=$(peer "$i"),"; done
    launch "m$1" "$KSTORE" --name "m$1" --data-dir "$DIR/m$1" --listen-client-urls "$(client "$1")" \
        --advertise-client-urls "$(client "$1")" --listen-peer-urls "$(peer "$1")" \
        --initial-advertise-peer-urls "$(peer "$1")" --initial-cluster "${cluster%,}" --log-level info
}
leader() {
    local i
    for i in $(seq $STORES); do
        curl -sf "$(client "$i")/metrics" 2>/dev/null | grep -q '^etcd_server_is_leader 1' && echo "m$i" && return 0
    done
    return 1
}

certificates() {
    cd "$DIR"
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=ca -keyout ca.key -out ca.crt 2>/dev/null
    openssl req -newkey rsa:2048 -nodes -subj /CN=kube-apiserver -keyout api.key -out api.csr 2>/dev/null
    openssl x509 -req -in api.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out api.crt 2>/dev/null \
        -extfile <(echo "subjectAltName=IP:127.0.0.1,IP:10.96.0.1")
    openssl genrsa -out sa.key 2048 2>/dev/null
    local user
    for user in admin system:kube-controller-manager system:kube-scheduler; do
        local token=token-${user##*:} groups=
        [ "$user" != admin ] || groups=',"system:masters"'
        echo "$token,$user,$user$groups" >>tokens.csv
        cat >"${user##*:}.kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:$PORT", certificate-authority: "$DIR/ca.crt"}}]
users: [{name: u, user: {token: "$token"}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
YAML
    done
    cd - >/dev/null
}
kube() { "$KUBECTL" --kubeconfig "$DIR/admin.kubeconfig" "$@"; }
bound() { [ "$(kube get pods -l app="$1" -o jsonpath='{range .items[*]}{.spec.nodeName}{"\n"}{end}' | grep -c .)" = "$2" ]; }

say "three stores"
for i in $(seq $STORES); do store "$i"; done
await 20 "a leader among the stores" leader
echo "leader: $(leader)"

say "a stock control plane on them"
certificates
servers=$(for i in $(seq $STORES); do printf '%s,' "$(client "$i")"; done)
launch kube-apiserver "$PEERS/kube-apiserver" --etcd-servers="${servers%,}" --bind-address=127.0.0.1 --secure-port="$PORT" \
    --advertise-address=192.0.2.10 --service-cluster-ip-range=10.96.0.0/16 --allow-privileged=true \
    --tls-cert-file="$DIR/api.crt" --tls-private-key-file="$DIR/api.key" --client-ca-file="$DIR/ca.crt" \
    --token-auth-file="$DIR/tokens.csv" --authorization-mode=Node,RBAC \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$DIR/sa.key" \
    --service-account-signing-key-file="$DIR/sa.key"
await 90 "kube-apiserver" kube get --raw /readyz
own() { echo "--kubeconfig=$DIR/$1.kubeconfig --authentication-kubeconfig=$DIR/$1.kubeconfig --authorization-kubeconfig=$DIR/$1.kubeconfig"; }
# shellcheck disable=SC2046
launch kube-controller-manager "$PEERS/kube-controller-manager" $(own kube-controller-manager) --bind-address=127.0.0.1 \
    --secure-port=$((PORT + 1)) --cert-dir="$DIR/kcm" --use-service-account-credentials=true \
    --service-account-private-key-file="$DIR/sa.key" --root-ca-file="$DIR/ca.crt"
# shellcheck disable=SC2046
launch kube-scheduler "$PEERS/kube-scheduler" $(own kube-scheduler) --bind-address=127.0.0.1 --secure-port=$((PORT + 2)) \
    --cert-dir="$DIR/sched"
await 60 "the default service account" kube get serviceaccount default
kube version 2>/dev/null | grep Server || true

say "a node (an object only) and a deployment"
kube create -f - <<YAML
apiVersion: v1
kind: Node
metadata: {name: paper}
status:
  capacity: {cpu: "32", memory: 64Gi, pods: "110"}
  allocatable: {cpu: "32", memory: 64Gi, pods: "110"}
  conditions: [{type: Ready, status: "True"}]
YAML
# Nobody keeps the node ready: its pods tolerate that.
kube create -f - <<YAML
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      tolerations: [{operator: Exists}]
      containers: [{name: web, image: "web:1"}]
YAML
await 60 "three pods, placed" bound web 3
kube get pods -o wide

say "the leader is killed $KILLS times; a writer goes on all the while"
writes=0
writer() {
    local n=0
    : >"$DIR/acknowledged"
    while [ ! -e "$DIR/enough" ]; do
        n=$((n + 1))
        kube create configmap "w$n" --from-literal=n="$n" >/dev/null 2>>"$DIR/writer.log" && echo "w$n" >>"$DIR/acknowledged"
    done
}
writer &
PIDS[writer]=$!
for kill in $(seq "$KILLS"); do
    sleep 2
    name=$(leader) || fail "no leader"
    kill -9 "${PIDS[$name]}"
    wait "${PIDS[$name]}" 2>/dev/null || true
    replicas=$((3 + kill))
    started=$(date +%s%N)
    until kube scale deployment web --replicas=$replicas >/dev/null 2>&1; do sleep 0.05; done
    scaled=$((($(date +%s%N) - started) / 1000000))
    await 60 "$replicas pods placed after kill $kill" bound web $replicas
    placed=$((($(date +%s%N) - started) / 1000000))
    await 20 "a leader after kill $kill" leader
    echo "kill $kill: $name killed, $(leader) leads; scaled after $scaled ms, all $replicas pods placed after $placed ms"
    store "${name#m}"
    await 20 "$name is back" curl -sf "$(client "${name#m}")/health"
done
touch "$DIR/enough"
wait "${PIDS[writer]}" 2>/dev/null || true
unset "PIDS[writer]"

say "nothing is lost"
kube get configmaps -o name | sed 's#^configmap/##' | sort >"$DIR/there"
lost=$(sort "$DIR/acknowledged" | comm -23 - "$DIR/there" | wc -l)
echo "$(wc -l <"$DIR/acknowledged") writes acknowledged, $lost lost"
[ "$lost" = 0 ] || fail "$lost acknowledged writes are lost"
[ "$(kube get --raw /readyz)" = ok ] || fail "kube-apiserver is not ready"
ended=$(for name in kube-apiserver kube-controller-manager kube-scheduler; do kill -0 "${PIDS[$name]}" 2>/dev/null || echo "$name"; done)
[ -z "$ended" ] || fail "ended: $ended"
echo "kube-apiserver, kube-controller-manager and kube-scheduler ran all the time"
