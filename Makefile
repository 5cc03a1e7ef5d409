# Two commands do all set-up on a fresh machine: `make demo` runs the main job, `make test` passes the tests.
# What a target needs and the machine lacks is installed first, and said so.

export CARGO_TARGET_DIR ?= $(HOME)/.cache/godwit/target
# One place for everything that is built; tests run the binary from there.
DEMO_BINARY := $(CARGO_TARGET_DIR)/demo/godwit
RECORDING ?= ../shared/data/occupancy-office.csv
SECONDS_PER_RUN ?= 3
ROUNDS ?= 5
SCENARIO ?=

.PHONY: help demo build test format lint unit docs strangers soak fuzz bench bench-mqtt bench-store bench-crates bench-peers deny mosquitto victoria-metrics clean

help: ## Say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

demo: build ## From a real recording to an answer, in one go; leaves nothing running
	@RECORDING="$(RECORDING)" demo/run "$(DEMO_BINARY)"

build: ## The binary, quick to build and quick to run
	@[ -x "$(DEMO_BINARY)" ] || echo "Building Godwit: the first time takes about 15 minutes on 2 cores, most of it the SQL engine; later builds take seconds."
	cargo build --locked --profile demo --bin godwit

test: format lint unit docs ## Everything that must pass before a change lands

format:
	cargo fmt --all --check

lint:
	cargo clippy --locked --workspace --all-targets -- -D warnings

# Where cargo-nextest is at hand the tests run in parallel processes; cargo's own runner gives the same verdict.
RUN_TESTS := $(if $(shell command -v cargo-nextest),cargo nextest run,cargo test)

unit: strangers mosquitto
	@[ -d ../shared/data ] || echo "No recordings in ../shared/data: made-up days take their place, and three tests of crates/rules (answers.rs) ask nothing."
	$(STRANGERS) $(RUN_TESTS) --locked --workspace

# Where the tests find them.
STRANGERS := GODWIT_TEST_PYTHON="$(CARGO_TARGET_DIR)/venv/bin/python" GODWIT_TEST_NODE="$(CARGO_TARGET_DIR)/node"

# Programs that are not ours, which the tests bring to Godwit: psql, Mosquitto's clients, curl, OpenSSL, Python with tests/requirements.txt and
# tests/requirements-mqtt.txt, Node with tests/node.
strangers:
	@command -v psql >/dev/null || { echo "Installing postgresql-client (tests ask Godwit with psql)."; apt-get update -qq && apt-get install -y -qq postgresql-client; }
	@python3 -c "import ensurepip, venv" 2>/dev/null || { echo "Installing python3-venv (tests meet Python's clients)."; apt-get update -qq && apt-get install -y -qq python3-venv; }
	@command -v mosquitto_rr >/dev/null || { echo "Installing mosquitto-clients (tests publish and subscribe with them)."; apt-get update -qq && apt-get install -y -qq mosquitto-clients; }
	@command -v curl >/dev/null || { echo "Installing curl (tests speak HTTP with it)."; apt-get update -qq && apt-get install -y -qq curl; }
	@command -v openssl >/dev/null || { echo "Installing openssl (tests make certificates and speak TLS with it)."; apt-get update -qq && apt-get install -y -qq openssl; }
	@command -v npm >/dev/null || { echo "Installing nodejs and npm (tests meet mqtt.js)."; apt-get update -qq && apt-get install -y -qq nodejs npm; }
	@python3 tests/venv.py "$(CARGO_TARGET_DIR)/venv" >/dev/null
	@python3 tests/node.py "$(CARGO_TARGET_DIR)/node" >/dev/null

docs:
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet

soak: strangers ## The long versions of the promises: 50 rounds of kill -9, more property cases
	$(STRANGERS) GODWIT_SOAK=1 PROPTEST_CASES=2000 $(RUN_TESTS) --locked --workspace --no-fail-fast

# Each target for FUZZ_SECONDS; what is found grows beside what is built, seeds stay in fuzz/corpus (those of
# payload_decode are the golden payloads).
FUZZ_TARGETS ?= mqtt_decode payload_decode session

fuzz: ## Throw bytes at the packet decoder, the payload decoders and sessions (FUZZ_SECONDS=60, each)
	@command -v cargo-fuzz >/dev/null || { echo "Installing cargo-fuzz."; cargo install --locked cargo-fuzz; }
	@python3 fuzz/seeds.py fuzz/corpus/payload_decode
	@for target in $(FUZZ_TARGETS); do \
		mkdir -p "$(CARGO_TARGET_DIR)/fuzz-found/$$target"; \
		RUSTC_BOOTSTRAP=1 cargo fuzz run $$target "$(CARGO_TARGET_DIR)/fuzz-found/$$target" fuzz/corpus/$$target -- \
			-max_total_time=$${FUZZ_SECONDS:-60} -timeout=120 -detect_leaks=0 || exit 1; \
	done

bench: bench-crates bench-store bench-mqtt bench-peers ## Every figure of the README, beside its peers

bench-crates: ## Codec, journal (beside fjall), permissions, decoders
	cargo bench --locked --profile demo -p mqtt -p model -p identity -p catalog -p journal -p broker -p rules

bench-store: ## 10 million readings: stored per second, bytes each, four queries, rules tried on them
	cargo bench --locked --profile demo -p series -p alerts

bench-mqtt: build mosquitto ## The MQTT door through the real binary, beside Mosquitto (SCENARIO=fanin-1, ROUNDS=5)
	@demo/bench-mqtt "$(DEMO_BINARY)" --scenario "$(SCENARIO)" --rounds $(ROUNDS) --seconds $(SECONDS_PER_RUN)

bench-peers: build victoria-metrics ## 10 million readings in, stored and asked, beside DuckDB and VictoriaMetrics
	@demo/bench-series "$(DEMO_BINARY)"

deny: ## Licences, bans and advisories of the dependencies
	@command -v cargo-deny >/dev/null || { echo "Installing cargo-deny."; cargo install --locked cargo-deny; }
	cargo deny check licenses bans sources

mosquitto:
	@command -v mosquitto >/dev/null || PATH="$$PATH:/usr/sbin" command -v mosquitto >/dev/null || { echo "Installing mosquitto (tests bridge from it, benches measure beside it)."; apt-get update -qq && apt-get install -y -qq mosquitto; }

victoria-metrics:
	@command -v victoria-metrics >/dev/null || { echo "Installing victoria-metrics (a peer that is measured beside)."; apt-get update -qq && apt-get install -y -qq victoria-metrics; }

clean: ## Remove what was built
	cargo clean
