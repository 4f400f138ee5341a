# Everything a contributor runs, by one name each. `make help` lists it.
CARGO ?= cargo
# make runs recipes without a login shell: find a rustup toolchain all the same.
export PATH := $(PATH):$(HOME)/.cargo/bin
ifeq ($(shell uname), Darwin) # Homebrew keeps its JDK off PATH
export PATH := /opt/homebrew/opt/openjdk@21/bin:/usr/local/opt/openjdk@21/bin:$(PATH)
endif

.DEFAULT_GOAL := help
.PHONY: help demo test faults soak lint bench fmt

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## run everything in one process and watch the boards; ARGS="--for 20s" ends by itself
	scripts/bootstrap
	$(CARGO) build --release --locked --bin nazar
	$${CARGO_TARGET_DIR:-target}/release/nazar demo $(ARGS)

test: ## all tests, with a real Kafka, Redis and Prometheus; ARGS="--lib" for the quick ones
	scripts/bootstrap --tests
	$(CARGO) test --locked $(ARGS)

faults: ## every fault under load, judged by the oracle; writes docs/RELIABILITY.md; ARGS="--kills 300"
	scripts/bootstrap --tests
	$(CARGO) test --locked --test faults -- --all --report docs/RELIABILITY.md $(ARGS)

soak: ## faults at random, from a seed; ARGS="--for 30m --seed 7"
	scripts/bootstrap --tests
	$(CARGO) test --locked --test faults -- --soak $(ARGS)

lint: ## formatting, clippy, docs and shell scripts, warnings as errors
	scripts/bootstrap
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" $(CARGO) doc --locked --no-deps --document-private-items
	@if command -v shellcheck >/dev/null; then \
		echo "shellcheck"; grep -rlE '^#!.*(bash|/sh)' scripts .ci bench | xargs shellcheck; \
	else \
		echo "lint: shellcheck is not installed, shell scripts NOT checked"; \
	fi

bench: ## measures everything, in an hour or so; writes docs/PERFORMANCE.md; ARGS="run sb1 --runs 1" for some
	scripts/bootstrap --tests
	bench/run $(ARGS)

fmt: ## format the code
	$(CARGO) fmt
