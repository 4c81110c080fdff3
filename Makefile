# Everything a developer or CI runs. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# Two clusters at once are what two cores carry.
TEST_THREADS ?= 2
GTM = $(shell cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/debug/gtm

.PHONY: help build crds demo test lint unit tools operator fuzz fuzz-brief bench need-go need-npm

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# need,PROGRAM,HOW: names a missing program and the way to get it.
need = @command -v $(1) >/dev/null || { echo "make: $(1) is missing: $(2)" >&2; exit 1; }

need-tools:
	$(call need,cargo,install Rust from https://rustup.rs)
	$(call need,cc,apt-get install gcc libc6-dev)
	$(call need,git,apt-get install git)
	$(call need,go,install Go 1.24 or newer from https://go.dev/dl)

need-npm:
	$(call need,npm,apt-get install nodejs npm (GitHub's OpenAPI description comes from npm))
	$(call need,curl,apt-get install curl)

build: need-tools ## build the operator, release
	cargo build --release --locked --bin gtm

crds: need-tools ## write crds/ anew from the types
	GTM_BLESS=1 cargo test --locked --lib crds

tools: need-tools ## build the Kubernetes API server, etcd and kubectl for the lab (once, cached)
	cargo build --locked -p gtm-lab --bin lab-tools
	cargo run --quiet --locked -p gtm-lab --bin lab-tools >/dev/null

demo: tools ## a real API server, a stand-in GitHub, a Token becomes a Secret, git clones (DEMO_KEEP=1: it stays up)
	cargo build --locked --bin gtm
	cargo build --locked -p gtm-lab --bin demo
	@cargo run --quiet --locked -p gtm-lab --bin demo -- $(GTM) docs/examples

test: need-tools need-npm lint tools ## all tests
	cargo test --locked --workspace -- --test-threads=$(TEST_THREADS)
	$(MAKE) demo
	$(MAKE) fuzz-brief

lint: need-tools ## formatting and clippy
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

operator: tools ## the tests of the operator on a real API server alone
	cargo test --locked --test operator -- --test-threads=$(TEST_THREADS)

bench: tools ## benchmarks, as ratios of one run
	cargo bench --locked --bench operator

fuzz: ## fuzz each target for five minutes
	@if [ -d fuzz ]; then fuzz/run 300; else echo "no fuzz targets"; fi

fuzz-brief: ## fuzz each target for ten seconds
	@if [ -d fuzz ]; then fuzz/run 10; else echo "no fuzz targets"; fi
