# Every command of the README. Each is safe to run twice.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

ENV := . .ci/env.sh;
# Which seeds CI simulates in each scenario: always the same ones, and a few that are new each day. More on demand: `make sim SEEDS=1..1000`.
SEEDS ?= 1..13
FRESH ?= $(shell date -u +%Y%m%d)00..$(shell date -u +%Y%m%d)02
# How long `make chaos` goes on, and how long `make real` breaks members of the store, and whole masters.
CHAOS_SECONDS ?= 3600
REAL_SECONDS ?= 70
MASTERS_SECONDS ?= 45

.PHONY: help packages rocksdb build up down status test check unit clients sim real chaos demo battery bench-store bench-api clean

help: ## What can be done
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

packages: ## Install the operating-system packages that are missing
	.ci/packages.sh

rocksdb: packages
	.ci/rocksdb.sh

build: rocksdb ## Build everything; binaries go to ./bin
	$(ENV) cargo build --locked --workspace --bins
	$(ENV) mkdir -p bin && ln -sf "$$CARGO_TARGET_DIR"/debug/{kmaster,knode,kctl,kstore,kchaos,kchaos-real} bin/

up: build ## Start three masters and two nodes on this machine
	bin/kctl start --masters 3 --nodes 2

down: ## Stop the local cluster; its data stays
	bin/kctl stop

status: ## Who leads, and how everyone is
	bin/kctl status

test: build check unit clients sim real demo ## Every test, as CI runs them

check: rocksdb ## Format, lints, house rules, licences
	cargo fmt --all --check
	$(ENV) cargo clippy --locked --workspace --all-targets -- -D warnings
	$(ENV) cargo ci
	.ci/deny.sh

unit: rocksdb ## Unit and integration tests
	$(ENV) cargo test --locked --workspace

clients: build ## Play flows of the stock Python and JavaScript clients and of Helm, as root; installs them once a machine
	master/clients/run.sh

sim: build ## Simulate the store under faults, over many seeds, and see that known bugs are found
	bin/kchaos sim --seeds $(SEEDS) --seeds $(FRESH)
	bin/kchaos mutants

real: build ## Kill, pause, cut off and spoil real members of the store, and whole masters under an app on containers, as root
	bin/kchaos real --for-seconds $(REAL_SECONDS)
	bin/kchaos real --masters --nodes 2 --for-seconds $(MASTERS_SECONDS)

chaos: build ## Half of CHAOS_SECONDS simulations with fresh seeds, half real processes under real faults, as root
	bin/kchaos sim --seeds $$(date -u +%y%m%d%H%M)000 --for-seconds $$(($(CHAOS_SECONDS) / 2))
	bin/kchaos mutants
	bin/kchaos real --for-seconds $$(($(CHAOS_SECONDS) / 8))
	bin/kchaos real --members 5 --at-once 2 --for-seconds $$(($(CHAOS_SECONDS) / 8))
	bin/kchaos real --masters --nodes 2 --for-seconds $$(($(CHAOS_SECONDS) / 8))
	bin/kchaos real --masters --members 5 --at-once 2 --for-seconds $$(($(CHAOS_SECONDS) / 8))

demo: build ## Play the walkthrough and an installation on real containers, killing masters
	docs/walkthrough.sh
	docs/operating/install.sh

battery: rocksdb ## Play the tests of kstore on etcd 3.6, then on kstore; PEERS is the folder of `etcd`
	$(ENV) KSTORE_BATTERY_PEER=etcd KSTORE_BATTERY_ETCD=$${PEERS:?the folder that holds etcd}/etcd cargo test --locked --package store --test it
	$(ENV) cargo test --locked --package store --test it

bench-store: build ## Compare kstore with etcd 3.6; PEERS is the folder of `etcd` and its `benchmark`
	$(ENV) cargo build --locked --package store --example probe && ln -sf "$$CARGO_TARGET_DIR"/debug/examples/probe bin/
	store/bench.sh

bench-api: build ## Compare the API with kube-apiserver on etcd; PEERS is the folder of their programs
	master/bench.sh

clean: ## Remove what was built (not the RocksDB library)
	$(ENV) cargo clean
	rm -rf bin
