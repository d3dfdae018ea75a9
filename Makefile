# What a developer of Berth runs. `make` alone lists it.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/berth
DENY_VERSION := 0.20.2
DENY := $(CACHE)/tools/cargo-deny-$(DENY_VERSION)/bin/cargo-deny
PROXIES := $(CACHE)/tools/proxies
PEBBLE := $(CACHE)/tools/pebble-2.10.1
# Always of the whole workspace: a part of it asks for fewer features of its dependencies, which would be compiled again.
TEST := cargo test --workspace
E2E := cargo run --package berth-e2e --bin berth-e2e --

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

.PHONY: demo demo-down
demo: toolchain ## A real Kubernetes, Berth on it, a push, a pull, a collection; at most 20 minutes the first time
	$(E2E) demo

demo-down: toolchain ## End the local Kubernetes and everything that belongs to it
	$(E2E) down

.PHONY: test
test: check unit transport stores peers e2e ## Everything: the checks, unit and socket tests, proxies, storage servers, other registries, clients, a real Kubernetes

.PHONY: check format clippy layers deny
check: format clippy layers deny ## The checks that run nothing

format: toolchain ## Formatting
	cargo fmt --all --check

clippy: toolchain ## Lints; a warning fails
	cargo clippy --workspace --all-targets --all-features --quiet -- -D warnings

layers: toolchain ## Which crate may depend on which
	./layers.sh

deny: toolchain $(DENY) ## Licenses, bans and sources of every dependency
	$(DENY) --all-features check --hide-inclusion-graph bans licenses sources

$(DENY):
	@echo "building cargo-deny $(DENY_VERSION), once (a few minutes)"
	CARGO_TARGET_DIR=$(CACHE)/build/cargo-deny cargo install --quiet --locked --root $(@D)/.. cargo-deny@$(DENY_VERSION)
	rm -rf $(CACHE)/build/cargo-deny

.PHONY: unit
unit: toolchain ## Unit, snapshot and socket-level tests: no cluster, no network beyond loopback
	$(TEST)

.PHONY: transport
transport: toolchain $(PROXIES) $(PEBBLE) ## nginx and Apache in front of a server, and certificates of an ACME authority
	BERTH_PROXIES=$(PROXIES) BERTH_PEBBLE=$(PEBBLE) \
	$(TEST) --test transport -- --ignored --nocapture

$(PROXIES):
	@echo "unpacking nginx and Apache of Debian, once"
	rm -rf $@.part && mkdir -p $@.part && cd $@.part && \
	packages="nginx apache2-bin $$(apt-cache depends apache2-bin | sed -n 's/.*Depends: \(libapr.*\)/\1/p' | xargs)" && \
	{ apt-get download -qq $$packages || { apt-get update -qq && apt-get download -qq $$packages; }; } && \
	for package in *.deb; do dpkg-deb --extract "$$package" .; done
	mv $@.part $@

$(PEBBLE): e2e/tools/pebble/go.mod e2e/tools/pebble/go.sum
	@echo "building pebble, once"
	mkdir -p $(@D)
	cd e2e/tools/pebble && GOWORK=off go build -mod=readonly -trimpath -buildvcs=false -o $@ github.com/letsencrypt/pebble/v2/cmd/pebble
	touch $@

.PHONY: stores stores-full
stores: toolchain ## Storage drivers on real servers of their kinds, which are installed once
	e2e/stores/install.sh -- $(TEST) --test servers --test identity --test buckets --test azure --test gcs --test swift --test stores -- --ignored --nocapture

stores-full: toolchain ## The registry on S3 in full sizes: 1,000 pushes with faults, 100,000 repositories and tags; tens of minutes
	BERTH_ROUNDS=1000 BERTH_MANY=100000 \
	e2e/stores/install.sh versitygw -- $(TEST) --test stores -- --ignored --nocapture

.PHONY: peers
peers: toolchain ## Berth beside CNCF Distribution 2.8 and 3, and with the clients that people use
	e2e/stores/install.sh versitygw keycloak -- $(TEST) --features berth-e2e/peers --test peers

.PHONY: e2e
e2e: toolchain ## End-to-end tests on a local Kubernetes of their own; KEEP=1 leaves it running
	@$(if $(KEEP),,trap '$(E2E) down' EXIT;) \
	$(E2E) up && $(E2E) load-images && $(E2E) install && \
	e2e/stores/install.sh versitygw fake-gcs-server azurite swift -- \
	$(TEST) --features berth-e2e/cluster --test cluster --test lifecycle -- --test-threads 4

.PHONY: figures
figures: toolchain ## Idle memory, time to the first answer, image sizes, measured now
	$(E2E) figures

.PHONY: bench
bench: toolchain ## Speed beside CNCF Distribution and nginx, as ratios; some minutes, best on an idle machine
	$(E2E) bench $(if $(ROUNDS),--rounds $(ROUNDS))

.PHONY: generate
generate: toolchain ## Refresh what is generated from the code: resource definitions, the chart's copies, snapshots, pages
	cargo run --quiet --package berth-operator -- crds --write crds/yaml
	BERTH_GENERATE=1 cargo test --quiet --package berth-config --lib
	BERTH_GENERATE=1 INSTA_UPDATE=always cargo test --quiet --package berth-operator
	BERTH_GENERATE=1 cargo test --quiet --package berth-registry --test conformance page
	BERTH_GENERATE=1 cargo test --quiet --package berth-registry --test access

.PHONY: toolchain
toolchain:
	@rustup target add x86_64-unknown-linux-musl >/dev/null 2>&1 || rustup toolchain install
