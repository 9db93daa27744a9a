#!/usr/bin/env bash
# A stock control plane on etcd, then ours, on the same disk, each driven by `kchaos-real bench-api`; prints a table of both
# with their ratio. PEERS names the folder that holds etcd, kube-apiserver, kube-controller-manager and kube-scheduler; BIN
# the one of our programs; MEMBERS (1 or 3) says how many members of etcd and how many masters; ROUNDS repeats all of it and
# takes medians, SCALE multiplies the number of operations, ONLY picks rows; MAPS, in place of all that, measures the memory
# that so many config maps take. CPU is that of all processes of a control plane.
set -euo pipefail
cd "$(dirname "$0")/.."

PEERS=${PEERS:?the folder that holds etcd, kube-apiserver, kube-controller-manager and kube-scheduler}
BIN=${BIN:-bin}
MEMBERS=${MEMBERS:-3} ROUNDS=${ROUNDS:-1} SCALE=${SCALE:-1} ONLY=${ONLY:-} MAPS=${MAPS:-0}
PORT=${PORT:-28443}
DIR=$(mktemp -d "${TMPDIR:-/tmp}/bench-api.XXXXXX")
PIDS=()

stop_all() {
    # Not asked to end: kube-apiserver would wait for an etcd that is gone, and nobody needs the data.
    [ ${#PIDS[@]} -eq 0 ] || kill -9 "${PIDS[@]}" 2>/dev/null || true
    [ ${#PIDS[@]} -eq 0 ] || wait "${PIDS[@]}" 2>/dev/null || true
    PIDS=()
    [ ! -d "$DIR/ours" ] || "$BIN/kctl" stop --wipe --data-dir "$DIR/ours" >/dev/null 2>&1 || true
}
trap 'stop_all; rm -rf "$DIR"' EXIT

launch() { # log command...
    local log=$1
    shift
    "$@" >>"$DIR/$log.log" 2>&1 </dev/null &
    PIDS+=($!)
}
await() { # what command...
    local what=$1
    shift
    for _ in $(seq 450); do "$@" >/dev/null 2>&1 && return 0; sleep 0.2; done
    echo "$what: not within 90 s" >&2
    tail -n 3 "$DIR"/*.log >&2
    exit 1
}
bench() { # label kubeconfig pid,pid…
    # What a control plane does after its start should not count.
    sleep 10
    "$BIN/kchaos-real" bench-api --label "$1" --kubeconfig "$2" --pids "$3" --scale "$SCALE" --only "$ONLY" \
        --config-maps "$MAPS" |
        tee -a "$DIR/rows" | awk -F'\t' '{printf "  %s: %s %s/s\n", $1, $2, $3}' >&2
}

certificates() {
    local D=$DIR/pki user groups
    mkdir -p "$D"
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=ca -keyout "$D/ca.key" -out "$D/ca.crt" 2>/dev/null
    openssl req -newkey rsa:2048 -nodes -subj /CN=kube-apiserver -keyout "$D/api.key" -out "$D/api.csr" 2>/dev/null
    openssl x509 -req -in "$D/api.csr" -CA "$D/ca.crt" -CAkey "$D/ca.key" -CAcreateserial -days 30 -out "$D/api.crt" \
        -extfile <(echo "subjectAltName=IP:127.0.0.1") 2>/dev/null
    openssl genrsa -out "$D/sa.key" 2048 2>/dev/null
    for user in admin system:kube-controller-manager system:kube-scheduler; do
        groups=
        [ "$user" != admin ] || groups=',"system:masters"'
        echo "token-${user##*:},$user,$user$groups" >>"$D/tokens.csv"
        cat >"$D/${user##*:}.kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:$PORT", certificate-authority: "$D/ca.crt"}}]
users: [{name: u, user: {token: "token-${user##*:}"}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
YAML
    done
}

theirs() {
    local D=$DIR/pki i servers= cluster=
    [ -d "$D" ] || certificates
    rm -rf "$DIR/etcd"
    for i in $(seq "$MEMBERS"); do
        servers+="http://127.0.0.1:$((PORT + 100 + 10 * i)),"
        cluster+="m$i=http://127.0.0.1:$((PORT + 101 + 10 * i)),"
    done
    for i in $(seq "$MEMBERS"); do
        local client=http://127.0.0.1:$((PORT + 100 + 10 * i)) peer=http://127.0.0.1:$((PORT + 101 + 10 * i))
        launch etcd "$PEERS/etcd" --name "m$i" --data-dir "$DIR/etcd/m$i" --listen-client-urls "$client" --log-level warn \
            --advertise-client-urls "$client" --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" \
            --initial-cluster "${cluster%,}"
    done
    launch kube-apiserver "$PEERS/kube-apiserver" --etcd-servers="${servers%,}" --bind-address=127.0.0.1 --secure-port="$PORT" \
        --advertise-address=192.0.2.10 --service-cluster-ip-range=10.96.0.0/16 --token-auth-file="$D/tokens.csv" \
        --tls-cert-file="$D/api.crt" --tls-private-key-file="$D/api.key" --authorization-mode=Node,RBAC \
        --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$D/sa.key" \
        --service-account-signing-key-file="$D/sa.key"
    await kube-apiserver curl -sf --cacert "$D/ca.crt" -H "Authorization: Bearer token-admin" "https://127.0.0.1:$PORT/readyz"
    local own
    for own in kube-controller-manager kube-scheduler; do
        local config=$D/$own.kubeconfig extra=()
        [ $own != kube-controller-manager ] || extra=(--use-service-account-credentials=true --root-ca-file="$D/ca.crt"
            --service-account-private-key-file="$D/sa.key")
        [ $own = kube-scheduler ] || PORT_OF=$((PORT + 1))
        [ $own = kube-controller-manager ] || PORT_OF=$((PORT + 2))
        launch $own "$PEERS/$own" --kubeconfig="$config" --authentication-kubeconfig="$config" \
            --authorization-kubeconfig="$config" --bind-address=127.0.0.1 --secure-port="$PORT_OF" \
            --cert-dir="$DIR/$own" "${extra[@]}"
    done
    bench kube "$D/admin.kubeconfig" "$(IFS=,; echo "${PIDS[*]}")"
    stop_all
}

ours() {
    "$BIN/kctl" start --masters "$MEMBERS" --nodes 0 --data-dir "$DIR/ours" --base-port "$((PORT + 300))" >"$DIR/start.log" 2>&1 ||
        { tail "$DIR/start.log" >&2; exit 1; }
    bench trireme "$DIR/ours/admin.kubeconfig" "$(for file in "$DIR"/ours/run/master-*.pid; do echo "$(<"$file")"; done | paste -sd,)"
    stop_all
}

for _ in $(seq "$ROUNDS"); do
    theirs
    ours
done

echo "kube-apiserver $("$PEERS/kube-apiserver" --version | awk '{print $2}') on $MEMBERS etcd, $MEMBERS master(s) of ours; $(nproc) cores, $ROUNDS round(s), load now $(cut -d' ' -f1 /proc/loadavg)"
echo
echo "| work | kube: per s, p50 / p99 ms, CPU µs per op, MiB | trireme | throughput | p99 | CPU | MiB |"
echo "|---|---|---|---|---|---|---|"
awk -F'\t' '
    function median(list,   n, parts, i, j, t) {
        n = split(list, parts, " ")
        for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (parts[j] + 0 < parts[i] + 0) { t = parts[i]; parts[i] = parts[j]; parts[j] = t }
        return parts[int((n + 1) / 2)]
    }
    !($2 in seen) { seen[$2] = ++count; name[count] = $2 }
    { for (f = 3; f <= 7; f++) all[$1, $2, f] = all[$1, $2, f] " " $f }
    function cell(peer) { return sprintf("%.0f, %.1f / %.1f, %d, %d", m[peer, 3], m[peer, 4], m[peer, 5], m[peer, 6], m[peer, 7]) }
    function ratio(f) { return m["kube", f] > 0 ? sprintf("%.2f×", m["trireme", f] / m["kube", f]) : "" }
    END {
        for (i = 1; i <= count; i++) {
            for (f = 3; f <= 7; f++) { m["kube", f] = median(all["kube", name[i], f]); m["trireme", f] = median(all["trireme", name[i], f]) }
            printf "| %s | %s | %s | %s | %s | %s | %s |\n", name[i], cell("kube"), cell("trireme"), ratio(3), ratio(5), ratio(6), ratio(7)
        }
    }' "$DIR/rows"
