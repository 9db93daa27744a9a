#!/usr/bin/env bash
# Three members of etcd, then three of kstore, on the same disk, each driven by etcd's own `benchmark`, and by
# `store/examples/probe` for updates, watches and fail-over; prints tables of both with their ratio. PEERS names the folder that holds
# `etcd` and `benchmark` (Go modules go.etcd.io/etcd/server/v3 and go.etcd.io/etcd/v3/tools/benchmark, version 3.6), KSTORE and
# PROBE the programs; ROUNDS repeats all of it and takes medians, SCALE multiplies the number of operations, KILLS is how often a
# leader is killed and how often one is frozen, CASES (a regular expression) picks rows.
set -euo pipefail

PEERS=${PEERS:?the folder that holds etcd and benchmark}
KSTORE=${KSTORE:-bin/kstore}
PROBE=${PROBE:-bin/probe}
ROUNDS=${ROUNDS:-1} SCALE=${SCALE:-1} CASES=${CASES:-.} KILLS=${KILLS:-10}
PORT=${PORT:-23790}
DIR=$(mktemp -d "${TMPDIR:-/tmp}/bench-store.XXXXXX")
PIDS=()
touch "$DIR/rows"

stop_all() {
    [ ${#PIDS[@]} -eq 0 ] || kill "${PIDS[@]}" 2>/dev/null || true
    [ ${#PIDS[@]} -eq 0 ] || wait "${PIDS[@]}" 2>/dev/null || true
    PIDS=()
}
trap 'stop_all; rm -rf "$DIR"' EXIT

start_one() { # program number
    local i cluster= client=http://127.0.0.1:$((PORT + 10 * $2)) peer=http://127.0.0.1:$((PORT + 10 * $2 + 1))
    for i in 0 1 2; do cluster+="m$i=http://127.0.0.1:$((PORT + 10 * i + 1)),"; done
    "$1" --name "m$2" --data-dir "$DIR/data/m$2" --listen-client-urls "$client" --advertise-client-urls "$client" \
        --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "${cluster%,}" \
        --log-level warn >"$DIR/m$2.log" 2>&1 &
    PIDS[$2]=$!
}

ready() { # number
    for _ in $(seq 100); do
        curl -sf -m 2 "http://127.0.0.1:$((PORT + 10 * $1))/health" >/dev/null && break
        sleep 0.1
    done
}

start_all() { # program
    local i
    for i in 0 1 2; do start_one "$1" $i; done
    for i in 0 1 2; do ready $i; done
    sleep 1
}

ENDPOINTS=127.0.0.1:$PORT,127.0.0.1:$((PORT + 10)),127.0.0.1:$((PORT + 20))

cpu_ticks() { for pid in "${PIDS[@]}"; do cut -d" " -f14,15 "/proc/$pid/stat"; done | awk '{s+=$1+$2} END{print s}'; }
rss_mib() { for pid in "${PIDS[@]}"; do awk '/^VmRSS/{print $2/1024}' "/proc/$pid/status"; done | sort -n | tail -1; }
syncs() {
    local i
    for i in 0 1 2; do curl -s "http://127.0.0.1:$((PORT + 10 * i))/metrics"; done |
        awk '/^etcd_disk_wal_fsync_duration_seconds_count/{s+=$2} END{print s+0}'
}

# How long their threads were ready to run and had no core, in ms.
waits_ms() { for pid in "${PIDS[@]}"; do cat /proc/"$pid"/task/*/schedstat; done | awk '{s+=$2} END{printf "%d", s/1e6}'; }

measured() { # peer label total command...
    local peer=$1 label=$2 total=$3 out cpu0 cpu1 sync0 sync1 wait0 wait1
    shift 3
    cpu0=$(cpu_ticks) sync0=$(syncs) wait0=$(waits_ms)
    out=$("$@" 2>&1) || { echo "$label: $out" | tail -3 >&2; return 0; }
    cpu1=$(cpu_ticks) sync1=$(syncs) wait1=$(waits_ms)
    awk -v OFS='\t' -v peer="$peer" -v label="$label" -v cpu=$((cpu1 - cpu0)) -v syncs=$((sync1 - sync0)) -v waits=$((wait1 - wait0)) -v n="$total" '
        /Requests\/sec/ && !r {r=$2} /50% in/ && !p50 {p50=$3} /99% in/ && !p99 {p99=$3}
        END {print peer, label, r, p50*1000, p99*1000, cpu*10000/n, syncs/n, waits*1000/n}' <<<"$out" >>"$DIR/rows"
    printf '.' >&2
}

row() { # peer label total arguments...
    local peer=$1 label=$2 total=$(($3 * SCALE))
    shift 3
    [[ $label =~ $CASES ]] || return 0
    measured "$peer" "$label" "$total" "$PEERS/benchmark" --endpoints="$ENDPOINTS" "$@" --total="$total"
}

# As Kubernetes writes, which `benchmark` does not.
update_row() { # peer label total clients
    local total=$(($3 * SCALE))
    [[ $2 =~ $CASES ]] || return 0
    measured "$1" "$2" "$total" "$PROBE" update "$ENDPOINTS" "$4" "$total"
}

# A thousand watches, ten on each of a hundred keys, and a thousand puts a second to these keys.
watch_row() { # peer
    local label="watch, 1000 watchers, 1000 puts per s" out
    [[ $label =~ $CASES ]] || return 0
    out=$("$PROBE" watch "$ENDPOINTS" 1000 100 1000 10) || { echo "$label: failed" >&2; return 0; }
    printf '%s\t%s\t%s\n' "$1" "$label" "$out" >>"$DIR/watches"
    printf '.' >&2
}

# From the end of a leader, or the beginning of its silence, to the next acknowledged put.
gap_row() { # peer program label signal
    local label=$3 out leader
    [[ $label =~ $CASES ]] || return 0
    for _ in $(seq "$KILLS"); do
        out=$("$PROBE" gap "$ENDPOINTS" "${PIDS[0]},${PIDS[1]},${PIDS[2]}" "$4") || { echo "$label: failed" >&2; return 0; }
        leader=${out#*$'\t'}
        printf '%s\t%s\t%s\n' "$1" "$label" "${out%$'\t'*}" >>"$DIR/gaps"
        if [ "$4" = STOP ]; then
            kill -CONT "${PIDS[$leader]}"
        else
            wait "${PIDS[$leader]}" 2>/dev/null || true
            start_one "$2" "$leader"
        fi
        ready "$leader"
        sleep 2
        printf '.' >&2
    done
}

round() { # peer program
    rm -rf "$DIR/data"
    start_all "$2"
    local put="--key-size=8 --val-size=256 --sequential-keys --key-space-size=100000" c
    row "$1" "put, 1 client" 2000 --clients=1 --conns=1 put $put
    row "$1" "put, 64 clients" 20000 --clients=64 --conns=16 put $put
    row "$1" "put, 256 clients" 40000 --clients=256 --conns=16 put $put
    row "$1" "put, 1000 clients" 40000 --clients=1000 --conns=16 put $put
    row "$1" "put to the leader, 256 clients" 40000 --clients=256 --conns=16 --target-leader put $put
    row "$1" "txn-put, 1 step, 64 clients" 20000 --clients=64 --conns=16 txn-put --key-size=8 --val-size=256 --key-space-size=100000 --txn-ops=1
    row "$1" "txn-put, 4 steps, 64 clients" 10000 --clients=64 --conns=16 txn-put --key-size=8 --val-size=256 --key-space-size=100000 --txn-ops=4
    update_row "$1" "update (compare, put, else get), 64 clients" 20000 64
    update_row "$1" "update (compare, put, else get), 256 clients" 40000 256
    "$PEERS/benchmark" --endpoints="$ENDPOINTS" --clients=1 --conns=1 put --key-size=3 --val-size=256 --key-space-size=1 --total=1 >/dev/null 2>&1
    for c in 64 256; do
        row "$1" "range, linearizable, $c clients" 40000 --clients=$c --conns=16 range foo --consistency=l
        row "$1" "range, serializable, $c clients" 40000 --clients=$c --conns=16 range foo --consistency=s
    done
    printf '%s\t%s\t%s\n' "$1" "memory" "$(rss_mib)" >>"$DIR/memory"
    watch_row "$1"
    gap_row "$1" "$2" "leader killed with kill -9" KILL
    gap_row "$1" "$2" "leader frozen (silent, as cut off)" STOP
    stop_all
}

# What a member holds, and how soon it is back: rows of their own, since they begin from nothing.
fill() { # value bytes, number of keys
    "$PEERS/benchmark" --endpoints="$ENDPOINTS" --clients=256 --conns=16 put --key-size=16 --val-size="$1" \
        --sequential-keys --key-space-size="$2" --total="$2" >/dev/null 2>&1
}

holding() { # peer program
    local i=2 client peer from
    if [[ "memory with 100,000 keys of 1 KiB" =~ $CASES ]]; then
        rm -rf "$DIR/data"
        start_all "$2"
        fill 1024 100000
        sleep 5
        printf '%s\t%s\t%s\n' "$1" "memory of the largest member with 100,000 keys of 1 KiB, MiB" "$(rss_mib)" >>"$DIR/holding"
        stop_all
    fi
    if [[ "restart with 1 million keys" =~ $CASES ]]; then
        rm -rf "$DIR/data"
        start_all "$2"
        fill 256 1000000
        sleep 5
        printf '%s\t%s\t%s\n' "$1" "memory of the largest member with 1 million keys of 256 bytes, MiB" "$(rss_mib)" >>"$DIR/holding"
        kill -9 "${PIDS[$i]}"
        wait "${PIDS[$i]}" 2>/dev/null || true
        client=http://127.0.0.1:$((PORT + 10 * i)) peer=http://127.0.0.1:$((PORT + 10 * i + 1))
        from=$(date +%s%3N)
        "$2" --name "m$i" --data-dir "$DIR/data/m$i" --listen-client-urls "$client" --advertise-client-urls "$client" \
            --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster-state existing \
            --initial-cluster "m0=http://127.0.0.1:$((PORT + 1)),m1=http://127.0.0.1:$((PORT + 11)),m2=http://127.0.0.1:$((PORT + 21))" \
            --log-level warn >>"$DIR/m$i.log" 2>&1 &
        PIDS[$i]=$!
        # Healthy means a linearizable read, answered by that member.
        until curl -sf "$client/health" >/dev/null; do sleep 0.01; done
        printf '%s\t%s\t%s\n' "$1" "member killed and started with 1 million keys, until it serves, ms" "$(($(date +%s%3N) - from))" >>"$DIR/holding"
        stop_all
    fi
}

for _ in $(seq "$ROUNDS"); do
    round etcd "$PEERS/etcd"
    round kstore "$KSTORE"
    holding etcd "$PEERS/etcd"
    holding kstore "$KSTORE"
done
echo >&2

touch "$DIR/rows" "$DIR/watches" "$DIR/gaps"
echo "etcd $("$PEERS/etcd" --version | awk 'NR==1{print $3}'), kstore $("$KSTORE" --version | awk '{print $2}'); three members each, $(nproc) cores, $ROUNDS round(s), load now $(cut -d' ' -f1 /proc/loadavg)"
echo
echo "| work | etcd: per s, p50 / p99 ms, CPU and waits µs, syncs per op | kstore | throughput | p99 | CPU |"
echo "|---|---|---|---|---|---|"
awk -F'\t' '
    function median(list,   n, parts, i, j, t) {
        n = split(list, parts, " ")
        for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (parts[j] + 0 < parts[i] + 0) { t = parts[i]; parts[i] = parts[j]; parts[j] = t }
        return parts[int((n + 1) / 2)]
    }
    !($2 in seen) { seen[$2] = ++count; name[count] = $2 }
    { for (f = 3; f <= 8; f++) all[$1, $2, f] = all[$1, $2, f] " " $f }
    function cell(peer, label) { return sprintf("%d, %.1f / %.1f, %d + %d, %.2f", m[peer, 3], m[peer, 4], m[peer, 5], m[peer, 6], m[peer, 8], m[peer, 7]) }
    END {
        for (i = 1; i <= count; i++) {
            for (f = 3; f <= 8; f++) { m["etcd", f] = median(all["etcd", name[i], f]); m["kstore", f] = median(all["kstore", name[i], f]) }
            e = m["etcd", 3] ? m["etcd", 3] : 1; p = m["etcd", 5] ? m["etcd", 5] : 1; c = m["etcd", 6] ? m["etcd", 6] : 1
            printf "| %s | %s | %s | %.2f× | %.2f× | %.2f× |\n", name[i], cell("etcd"), cell("kstore"), m["kstore", 3] / e, m["kstore", 5] / p, m["kstore", 6] / c
        }
    }' "$DIR/rows"
awk -F'\t' '{v[$1]=$3} END{printf "\nmemory of the largest member afterwards: etcd %d MiB, kstore %d MiB (%.2f×)\n", v["etcd"], v["kstore"], v["kstore"]/v["etcd"]}' "$DIR/memory"
[ ! -e "$DIR/holding" ] || awk -F'\t' '
    !($2 in seen) { seen[$2] = ++count; name[count] = $2 }
    { sum[$1, $2] += $3; n[$1, $2]++ }
    END {
        print "\n| what | etcd | kstore | ratio |\n|---|---|---|---|"
        for (i = 1; i <= count; i++) {
            e = sum["etcd", name[i]] / n["etcd", name[i]]; k = sum["kstore", name[i]] / n["kstore", name[i]]
            printf "| %s | %d | %d | %.2f× |\n", name[i], e, k, k / e
        }
    }' "$DIR/holding"

median_of() { # peer label field file: the median of a field, and the largest
    awk -F'\t' -v peer="$1" -v label="$2" -v f="$3" '$1 == peer && $2 == label {print $f}' "$4" | sort -g |
        awk '{v[NR] = $1} END {if (NR) printf "%.1f %.1f", v[int((NR + 1) / 2)], v[NR]}'
}

if [ -s "$DIR/watches" ]; then
    printf '\n| work | etcd: p50 / p99 ms | kstore | p99 |\n|---|---|---|---|\n'
    cut -f2 "$DIR/watches" | sort -u | while IFS= read -r label; do
        for peer in etcd kstore; do
            for f in 4 5; do median_of $peer "$label" $f "$DIR/watches" | cut -d' ' -f1; done
        done | paste -sd' ' | awk -v label="$label" '{printf "| %s | %s / %s | %s / %s | %.2f× |\n", label, $1, $2, $3, $4, $4 / $2}'
    done
fi
if [ -s "$DIR/gaps" ]; then
    printf '\n| until the next acknowledged put | etcd: median / max ms | kstore | median |\n|---|---|---|---|\n'
    cut -f2 "$DIR/gaps" | sort -u | while IFS= read -r label; do
        echo "$(median_of etcd "$label" 3 "$DIR/gaps") $(median_of kstore "$label" 3 "$DIR/gaps")" |
            awk -v label="$label" '{printf "| %s | %s / %s | %s / %s | %.2f× |\n", label, $1, $2, $3, $4, $3 / $1}'
    done
fi
