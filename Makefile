# Everything a developer or CI runs. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := help
# Cargo, go and the tests use all cores by themselves; what is written in order is done in order.
.NOTPARALLEL:

# Tests wait more than they work: two cores carry four at once.
TEST_THREADS ?= 4
# Whatever is built has the features of the whole workspace and its tests: with any others, most dependencies would be built anew.
CARGO_TEST = cargo test --locked --workspace
# Cargo builds a package's programs for its tests.
PROGRAMS = $(CARGO_TEST) --no-run --test cluster --test mint --test parts
TARGET = $(shell cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')

.PHONY: help build crds demo test lint deny unit tools key-tools guide-tools guides operator signer bench fuzz fuzz-brief image image-reproducible image-run cert-manager chart e2e node-tools cluster cluster-down need-tools need-test-tools need-node

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# need,PROGRAM,HOW: names a missing program and the way to get it.
need = @command -v $(1) >/dev/null || { echo "make: $(1) is missing: $(2)" >&2; exit 1; }

need-tools:
	$(call need,cargo,install Rust from https://rustup.rs)
	$(call need,cc,apt-get install gcc libc6-dev)
	$(call need,git,apt-get install git)
	$(call need,go,install Go 1.26 or newer from https://go.dev/dl)

need-test-tools: need-tools
	$(call need,c++,apt-get install g++ (the fuzzing engine is C++))
	$(call need,python3,apt-get install python3 python3-venv (the AWS KMS emulator comes from PyPI))
	$(call need,faketime,apt-get install faketime (clocks that jump))
	$(call need,npm,apt-get install nodejs npm (GitHub's OpenAPI description comes from npm))
	$(call need,curl,apt-get install curl (the guides use it))
	@cargo clippy --version >/dev/null 2>&1 || { echo "make: clippy is missing: rustup component add clippy" >&2; exit 1; }
	@cargo fmt --version >/dev/null 2>&1 || { echo "make: rustfmt is missing: rustup component add rustfmt" >&2; exit 1; }

need-node:
	$(call need,containerd,apt-get install containerd (its service is not needed))
	$(call need,runc,apt-get install runc)
	$(call need,nft,apt-get install nftables)
	$(call need,ip,apt-get install iproute2)
	@test -x /usr/lib/cni/ptp || { echo "make: /usr/lib/cni/ptp is missing: apt-get install containernetworking-plugins" >&2; exit 1; }
	@test "$$(id -u)" -eq 0 || { echo "make: a node takes root: it mounts file systems and makes namespaces" >&2; exit 1; }

build: need-tools ## build the operator, release
	cargo build --release --locked --bin gtm

image: need-tools ## build the image as an OCI archive, without a container engine; ARCH=amd64 or arm64
	$(PROGRAMS)
	@$(TARGET)/debug/release image --target $(TARGET) $(if $(ARCH),--arch $(ARCH))

image-reproducible: need-tools ## build the image twice, in two folders, and compare the digests
	$(PROGRAMS)
	@$(TARGET)/debug/release image --target $(TARGET)/first $(if $(ARCH),--arch $(ARCH)) | tee $(TARGET)/first.txt
	@$(TARGET)/debug/release image --target $(TARGET)/second $(if $(ARCH),--arch $(ARCH)) | tee $(TARGET)/second.txt
	@grep -q sha256: $(TARGET)/first.txt
	@test "$$(tail -n1 $(TARGET)/first.txt)" = "$$(tail -n1 $(TARGET)/second.txt)" && echo "the same digest twice"

image-run: need-tools ## build the image and run its program against a real API server and a stand-in for GitHub; ARCH=arm64 on amd64: under QEMU
	$(if $(filter-out $(HOST_ARCH),$(ARCH)),$(call need,$(EMULATOR),apt-get install qemu-user-static))
	$(MAKE) image tools
	GTM_IMAGE="$(IMAGE)" $(CARGO_TEST) --test image -- --test-threads=1

cert-manager: need-tools ## build cert-manager (once, cached), which then keeps the webhook's certificate on a real API server
	$(PROGRAMS)
	@$(TARGET)/debug/lab-tools cert-manager >/dev/null
	$(CARGO_TEST) --test cert-manager -- --test-threads=$(TEST_THREADS)

chart: need-tools ## write what is rendered from the chart, and its README, anew; then test it
	GTM_BLESS=1 $(CARGO_TEST) --test chart -- rendered readme
	$(CARGO_TEST) --test chart -- --test-threads=$(TEST_THREADS)

crds: need-tools ## write crds/, and the chart's copy of it, anew from the types
	GTM_BLESS=1 $(CARGO_TEST) --lib crds
	GTM_BLESS=1 $(CARGO_TEST) --test chart the_charts_kinds

tools: need-tools ## build the Kubernetes API server, etcd and kubectl for the lab (once, cached)
	$(PROGRAMS)
	@$(TARGET)/debug/lab-tools >/dev/null

key-tools: need-test-tools ## build Vault, and install the AWS KMS emulator, for the tests of keys (once, cached)
	$(PROGRAMS)
	@$(TARGET)/debug/lab-tools keys >/dev/null

guide-tools: need-test-tools ## build the programs that the guides are tested with: source-controller, gh, promtool and others (once, cached)
	$(PROGRAMS)
	@$(TARGET)/debug/lab-tools guides >/dev/null

node-tools: need-tools need-node ## build what a real node runs, its images and the operator's (once, cached)
	$(PROGRAMS)
	@$(TARGET)/debug/lab-tools node >/dev/null
	$(MAKE) image

HOST_ARCH = $(shell uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
EMULATOR = qemu-$(patsubst amd64,x86_64,$(patsubst arm64,aarch64,$(ARCH)))-static
# The archive that `make image` has made: for ARCH, or for this machine.
IMAGE = $$(ls -t $(TARGET)/image/*-$(or $(ARCH),$(HOST_ARCH)).tar | head -n1)

e2e: ## on a real one-node cluster, as root: pods that clone and push, upgrades, evictions (GTM_E2E=skip: not)
ifeq ($(GTM_E2E),skip)
	@echo "make: e2e IS SKIPPED, as GTM_E2E=skip asks: nothing was tested on a real node" >&2
else
	$(MAKE) node-tools
	$(CARGO_TEST) --test e2e --no-run
	GTM_IMAGE="$(IMAGE)" timeout 900 $(CARGO_TEST) --test e2e -- --test-threads=1 --nocapture
endif

cluster: node-tools ## a real one-node cluster with the operator installed, as root; it stays up
	@$(TARGET)/debug/lab-node up cluster "$(IMAGE)"

cluster-down: need-tools ## end that cluster and remove every trace of it
	$(PROGRAMS)
	@$(TARGET)/debug/lab-node down cluster

demo: tools ## a real API server, a stand-in GitHub, a Token becomes a Secret, a pod gets it (DEMO_KEEP=1: it stays up)
	@$(TARGET)/debug/demo $(TARGET)/debug/gtm docs

test: need-test-tools lint key-tools guide-tools ## everything: formatting, clippy, all tests on real parts, the demo, the fuzz targets briefly
	$(CARGO_TEST) --no-fail-fast -- --test-threads=$(TEST_THREADS)
	$(CARGO_TEST) --no-default-features --lib signer
	$(MAKE) demo DEMO_KEEP=
	$(MAKE) fuzz-brief

lint: need-tools ## formatting and clippy
	$(call need,c++,apt-get install g++ (the fuzzing engine is C++))
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --workspace --test e2e --test image --test cert-manager -- -D warnings
	cargo clippy --locked --workspace --no-default-features --lib --bins --test mint -- -D warnings

deny: need-tools ## licences, sources and duplicates of the dependencies, by deny.toml
	@cargo deny --version >/dev/null 2>&1 || { echo "make: cargo-deny is missing: cargo install --locked cargo-deny" >&2; exit 1; }
	cargo deny check bans licenses sources

unit: need-tools ## the tests that need no API server
	$(CARGO_TEST) --lib

operator: tools ## the tests of the operator on a real API server alone
	$(CARGO_TEST) --test operator -- --test-threads=$(TEST_THREADS)

guides: guide-tools ## the guides of docs/guides, each run by a test
	$(CARGO_TEST) --test guides -- --test-threads=$(TEST_THREADS)

signer: key-tools ## the tests of keys in key services alone
	$(CARGO_TEST) --test signer -- --test-threads=$(TEST_THREADS)

bench: key-tools ## benchmarks, as ratios of one run
	cargo bench --locked --bench operator
	cargo bench --locked --bench webhook

fuzz: need-test-tools ## fuzz each target for five minutes
	fuzz/run 300

fuzz-brief: need-test-tools ## fuzz each target for ten seconds
	fuzz/run 10
