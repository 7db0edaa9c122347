# Build, run and test btkn-indexer. `make help` lists the targets.
#
# The build goes to $CARGO_TARGET_DIR where that is set, in CI (CI=true) to the user's cache directory,
# so that a second run is quick, and to ./target otherwise. Only the dev profile is built,
# but for benchmarks.

ifeq ($(origin CARGO_TARGET_DIR),undefined)
ifeq ($(CI),true)
export CARGO_TARGET_DIR := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/btkn-indexer/target
endif
endif

.DEFAULT_GOAL := help
# Where the chain of `make bench` is, and how many megabytes of traffic it has.
BENCH_DIR ?= $(abspath $(or $(CARGO_TARGET_DIR),target))/bench-chain
BENCH_MB ?= 2000
export BENCH_DIR BENCH_MB

# Of `make kill-test`: how many kills at least, and the seed of a run that is to be repeated.
KILLS ?= 2000
SEED ?=

.PHONY: help run test kill-test lint fmt fixture openapi client-test api-test fuzz deny bench-chain bench bench-latency bench-parts doc

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

run: ## build, recover the fixture chain from its block files, and serve it on 127.0.0.1:3080
	@scripts/prepare
	@scripts/run-fixture

test: ## every test, the ones against a real Bitcoin Core included
	@scripts/prepare test
	BITCOIND="$$(scripts/bitcoind)" cargo test --workspace --features kill-points

kill-test: ## a long run of the test that kills the program: KILLS=2000, SEED= to repeat one
	@scripts/prepare
	KILLS=$(KILLS) SEED=$(SEED) cargo test --workspace --features kill-points --test oracle kill::

lint: ## formatting and clippy, as CI checks them
	@scripts/prepare
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --workspace --all-targets --features kill-points -- -D warnings

fmt: ## format the code
	cargo fmt --all

fixture: ## make fixtures/regtest/ again with a real Bitcoin Core
	@scripts/prepare test
	BITCOIND="$$(scripts/bitcoind)" cargo run -q -p btkn-testkit --bin fixture -- fixtures/regtest

openapi: ## make schema/openapi.json and schema/examples.json again from the handlers
	@scripts/prepare
	BTKN_WRITE_SCHEMA=1 cargo test --workspace --features kill-points --lib api::tests::document::the_committed

client-test: ## a client that is generated from schema/openapi.json asks what README and document show (needs Python 3)
	@scripts/prepare
	scripts/with-server scripts/python tests/client/examples.py

api-test: ## schemathesis against the running server (needs Python 3): CHAIN=directory for another chain than the fixture's
	@scripts/prepare
	scripts/with-server scripts/api-test

fuzz: ## fuzz a target for some time: make fuzz TARGET=manifest SECONDS=600 (see fuzz/README.md)
	@scripts/prepare
	@scripts/fuzz run "$(TARGET)" "$(or $(SECONDS),60)"

deny: ## licences, bans and sources of the dependencies (needs cargo-deny)
	@cargo deny --version >/dev/null 2>&1 || { echo "install it first: cargo install cargo-deny --locked" >&2; exit 2; }
	cargo deny check licenses bans sources

bench-chain: ## write the block files that `make bench` reads: BENCH_MB=2000 megabytes, BENCH_DIR=
	@scripts/prepare
	cargo bench --bench end_to_end -- chain

bench: ## sync that chain from files, REST and RPC, beside the limits; writes docs/performance.md
	@scripts/prepare test
	BITCOIND="$$(scripts/bitcoind)" cargo bench --bench end_to_end

bench-latency: ## from a node's new block to the answer of the API; writes docs/performance.md
	@scripts/prepare test
	BITCOIND="$$(scripts/bitcoind)" cargo bench --bench tip_latency

bench-parts: ## the scanner, the file reader, point reads, activation and undo, each beside its limit
	@scripts/prepare
	cargo bench --bench scan --bench files --bench reads --bench ledger --bench protocol

doc: ## the documentation of the library
	@scripts/prepare
	cargo doc --no-deps --workspace
