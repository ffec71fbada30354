# callbin. `make help` lists the targets.

PORT ?= 8443
TLS ?=
NODES ?=
EXAMPLES ?=
PREFIX ?= /usr/local
DESTDIR ?=
HOURS ?= 2
SEED ?=
BIN ?= target/release
MAINTAINER ?=

# The test programs of which three tests run at a time. The client's tests mostly wait: six of them run at a time. `make interop`
# runs `browser`.
PROGRAMS = $(filter-out browser client,$(notdir $(wildcard tests/tests/*)))

export CARGO_TERM_COLOR ?= auto

.PHONY: help setup build install deb demo test lint unit page-test interop compare bench bench-network bench-media soak audit clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-10s %s\n", $$1, $$2 }'

setup: ## Install missing Debian packages
	@scripts/setup.sh build

build: setup ## Build server, media node, client and load generator in release mode
	cargo build --release --locked --package callbin-server --package callbin-media --package callbin --package callbin-load

install: ## Install the programs that `make build` built in PREFIX (/usr/local); DESTDIR=… for packages
	install -d "$(DESTDIR)$(PREFIX)/bin"
	install -m 755 $(BIN)/callbin-server $(BIN)/callbin-media $(BIN)/callbin $(BIN)/callbin-load "$(DESTDIR)$(PREFIX)/bin"
	@BIN="$(BIN)" scripts/manual.sh "$(DESTDIR)$(PREFIX)/share" callbin-server callbin-media callbin callbin-load

deb: ## Build Debian packages of server (with media node) and client; MAINTAINER="Name <address>" sets their maintainer
	@command -v cargo-deb >/dev/null || cargo install --locked cargo-deb
	cargo build --release --locked --package callbin-server --package callbin-media --package callbin
	rm -rf target/package
	@BIN=target/release scripts/manual.sh target/package/callbin-server callbin-server callbin-media
	@BIN=target/release scripts/manual.sh target/package/callbin callbin
	cargo deb --package callbin-server --no-build --locked $(if $(MAINTAINER),--maintainer "$(MAINTAINER)")
	cargo deb --package callbin --no-build --locked $(if $(MAINTAINER),--maintainer "$(MAINTAINER)")

demo: build ## Run server, page and a GStreamer client that answers; TLS=1 for other machines, PORT=… for another port, NODES=3 for a cluster
	@[ -z "$(NODES)" ] || scripts/setup.sh cluster
	@if [ -z "$(NODES)" ]; then scripts/demo.sh "$(PORT)" "$(TLS)"; else scripts/demo-cluster.sh "$(PORT)" "$(NODES)"; fi

test: ## Install missing packages, then run all tests, those of the page included
	@scripts/setup.sh test
	@$(MAKE) --no-print-directory unit page-test

lint: ## Check format, lints, the types of the page, and the documentation of the code
	@scripts/setup.sh test
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --workspace --test browser --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet
	tools=$$(scripts/page-tools.sh) && "$$tools/.bin/tsc" -p www/test/jsconfig.json

unit:
	cargo build --workspace --all-targets --locked
	RUST_TEST_THREADS=3 cargo test --workspace --locked --no-fail-fast --lib --bin callbin-interop --bin callbin-load
	RUST_TEST_THREADS=6 cargo test --workspace --locked --no-fail-fast --test client
	RUST_TEST_THREADS=3 cargo test --workspace --locked --no-fail-fast $(PROGRAMS:%=--test %)
	cargo test --workspace --locked --quiet --doc
	CALLBIN_TEST_NODES=2 cargo test --workspace --locked --test server --test dialect -- protocol:: bridge:: webrtcsink:: rooms:: action:: rest::

page-test:
	node --test www/test/*.test.js

interop: ## Test callbin with other WebRTC stacks; EXAMPLES=… for a checkout of GStreamer's examples
	@EXAMPLES="$(EXAMPLES)" scripts/setup.sh interop
	CHROMIUM="$${CHROMIUM:-chromium}" RUST_TEST_THREADS=6 cargo test --workspace --locked --test browser
	@EXAMPLES="$(EXAMPLES)" scripts/interop.sh

compare: build ## Compare with what callbin replaces, on this machine; EXAMPLES=… for a checkout of GStreamer's examples
	@EXAMPLES="$(EXAMPLES)" scripts/setup.sh compare
	cargo build --release --locked --package callbin-load --examples
	@EXAMPLES="$(EXAMPLES)" scripts/compare.sh

bench: build ## Measure server and client on this machine
	@scripts/setup.sh test
	@scripts/bench.sh

bench-network: build ## Measure calls over bad lines, between clients and with Chromium; needs root
	@scripts/setup.sh test
	cargo run --release --locked --quiet --package callbin-tests --bin callbin-bench -- network

bench-media: build ## Measure what a viewer costs the media node, beside Janus; VIEWERS="100 400"
	@scripts/setup.sh bench-media
	cargo run --release --locked --quiet --package callbin-tests --bin callbin-bench -- fanout $(VIEWERS)

soak: build ## Run calls, outages and failing sources at random for HOURS=2 (SEED=…); needs root
	@scripts/setup.sh test
	cargo run --release --locked --quiet --package callbin-tests --bin callbin-bench -- soak $(HOURS) $(SEED)

audit: ## Check dependencies: bans, licences, sources; advisories if there is a network
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check bans licenses sources
	cargo deny check advisories || echo "advisories: not checked without a network, or see above"

clean: ## Remove the build output
	cargo clean
