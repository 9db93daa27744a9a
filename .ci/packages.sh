#!/usr/bin/env bash
# Installs the operating-system packages that building, running and testing need, if any is missing.
set -euo pipefail

packages=(
    g++ make clang libclang-dev protobuf-compiler libprotobuf-dev # build
    containerd runc containernetworking-plugins nftables conntrack iproute2 iptables # a node
    busybox-static                                               # the images that are built on the spot
    curl ca-certificates                                         # the walkthrough
    etcd-client                                                  # etcdctl, which drives kstore in the tests
)
command -v kubectl >/dev/null || packages+=(kubernetes-client)   # the stock client the tests drive
# Programs whose clients the tests drive (master/clients).
command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1 || packages+=(python3 python3-pip)
command -v node >/dev/null || packages+=(nodejs)
command -v npm >/dev/null || packages+=(npm)

missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
