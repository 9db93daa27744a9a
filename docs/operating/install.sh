#!/usr/bin/env bash
# Plays docs/operating/install.md on six machines, each a network namespace of its own; leaves nothing behind.
set -euo pipefail
cd "$(dirname "$0")/../.."

export PATH="$PWD/bin:$PATH:/usr/sbin:/sbin"
export LAB; LAB=$(mktemp -d /tmp/trireme-install.XXXXXX)
export NET="tri-install-${LAB##*.}"
MACHINES="1 2 3 4 5 6"

# `on 3 COMMAND …`: what a person types on machine 3, who has a home of their own there.
on() {
    local machine=$1; shift
    nsenter --net="/run/netns/$NET-$machine" env -u KUBECONFIG -u TRIREME_DATA_DIR HOME="$LAB/$machine" "$@"
}
export -f on

# A switch with one cable to each machine. It is in a namespace, too: nothing of the host's network is touched.
plug_in() {
    ip netns add "$NET-switch"
    ip -n "$NET-switch" link add switch type bridge
    ip -n "$NET-switch" addr add 192.168.1.1/24 dev switch
    ip -n "$NET-switch" link set switch up
    local machine
    for machine in $MACHINES; do
        mkdir "$LAB/$machine"
        ip netns add "$NET-$machine"
        ip -n "$NET-switch" link add "port$machine" type veth peer name eth0 netns "$NET-$machine"
        ip -n "$NET-switch" link set "port$machine" master switch up
        ip -n "$NET-$machine" link set lo up
        ip -n "$NET-$machine" addr add "192.168.1.1$machine/24" dev eth0
        ip -n "$NET-$machine" link set eth0 up
        ip -n "$NET-$machine" route add default via 192.168.1.1
    done
}

unplug() { ip -n "$NET-switch" link set "port$1" down; }
plug() { ip -n "$NET-switch" link set "port$1" up; }
export -f unplug plug

clear_away() {
    local machine
    for machine in $MACHINES; do
        on "$machine" kctl stop --wipe >/dev/null 2>&1 || true
        # Whatever is left in a namespace of ours is ours.
        ip netns pids "$NET-$machine" 2>/dev/null | xargs -r kill -9 || true
        ip netns del "$NET-$machine" 2>/dev/null || true
    done
    ip netns del "$NET-switch" 2>/dev/null || true
    rm -rf "$LAB"
}

trap 'status=$?; clear_away; exit $status' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

plug_in
kchaos-real play docs/operating/install.md
