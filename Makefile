# The two commands are `make demo` and `make test`; the rest handles a running
# demo. Options go after the target: make demo ONCE=1 SCENARIO=MEMORY_LEAK

SHELL := /bin/bash
SETUP := infrastructure/local/setup.sh
STACK_PROGRAM := target/debug/midwatch-stack
TEST_SERVERS := postgres,redis,kafka,tansu,vectors,embedder,mail
PYTHON_CHECKS := .midwatch/cache/python-checks/bin/python
PYTHON_TEST := .midwatch/cache/python-test/bin/python

# Queries are checked against the committed data, not against a server that
# happens to be named in the environment.
export SQLX_OFFLINE := true

.DEFAULT_GOAL := help
.PHONY: help demo start stop status clean logs logs-sim logs-api build seed \
	restart-agents inject scale score exam exam-rca soak test-model bench screenshots test reference lint fmt

help: ## Show the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' \
		| while IFS=$$'\t' read -r name text; do printf '  %-15s %s\n' "$$name" "$$text"; done
	@echo 'Options of demo: ONCE=1 SCENARIO=name KILL=1 MODEL=scripted|lies SEED=n'
	@echo '                 SPEED=x BROKER=kafka|tansu KEEP=1 SCALE=investigation=3,detection=2'
	@echo '                 RESCALE=1 (with ONCE=1: scale up and down meanwhile)'
	@echo '                 APPROVE=1|wrong (with ONCE=1: approve a step that helps, or does not)'

demo: ## Build what changed and run everything until Ctrl-C (STACK=local|compose).
	@infrastructure/local/demo.sh

start: ## Like demo, without building.
	@test -x $(STACK_PROGRAM) || { echo 'nothing is built yet; run make build' >&2; exit 1; }
	@$(STACK_PROGRAM) run

stop: ## Stop the running demo and remove what killed ones left.
	@if [ -x $(STACK_PROGRAM) ]; then $(STACK_PROGRAM) stop; else echo 'nothing is built, so nothing runs'; fi

status: ## Show processes, health, lag and memory of the running demo.
	@$(STACK_PROGRAM) status

logs: ## Follow all logs; NAME=detection for one process.
	@$(STACK_PROGRAM) logs $(NAME)

logs-sim: ## Follow the simulator's log.
	@$(STACK_PROGRAM) logs simulator

logs-api: ## Follow the API's log.
	@$(STACK_PROGRAM) logs api

inject: ## Ask the simulator for a fault: SCENARIO=name [SERVICE=name].
	@test -n "$(SCENARIO)" || { echo 'name the fault: make inject SCENARIO=MEMORY_LEAK' >&2; exit 1; }
	@$(STACK_PROGRAM) inject $(SCENARIO) $(SERVICE)

scale: ## Change the processes of agents in the running demo: SCALE=detection=2
	@test -n "$(SCALE)" || { echo 'say how many: make scale SCALE=detection=2' >&2; exit 1; }
	@$(STACK_PROGRAM) scale $(SCALE)

seed: ## Write the knowledge into the running demo again.
	@$(STACK_PROGRAM) seed

restart-agents: ## Restart agents and API of the running demo from the newest build.
	@$(STACK_PROGRAM) restart-agents

build: ## Build everything that demo needs.
	@$(SETUP) build
	@cargo build --workspace --bins

test: ## Run all tests on real servers.
	@$(SETUP) test
	@cargo build --workspace --bins
	@echo 'containers and manifests, without an engine'
	@$(PYTHON_CHECKS) infrastructure/containers/check.py
	@$(PYTHON_CHECKS) infrastructure/grafana/check.py
	@$(PYTHON_CHECKS) infrastructure/kubernetes/check.py
	@$(PYTHON_CHECKS) infrastructure/containers/run_services.py
	@$(STACK_PROGRAM) exec --with $(TEST_SERVERS) -- cargo test --workspace
	@$(STACK_PROGRAM) exec --with vectors -- sh -c 'exec $(PYTHON_TEST) infrastructure/vectors/tests/python_client.py "$$MIDWATCH_TEST_QDRANT_URL"'
	@echo 'one fault end to end, every agent killed once, on the preferred broker'
	@ONCE=1 KILL=1 KCAT=1 SCENARIO=DB_CONNECTION_EXHAUSTION $(STACK_PROGRAM) run
	@echo 'one fault end to end, with the scripted model, on the fallback broker'
	@ONCE=1 MODEL=scripted BROKER=tansu SCENARIO=DEPLOYMENT_FAILURE $(STACK_PROGRAM) run
	@echo 'one fault end to end, scaled up and down meanwhile, from two and three processes'
	@ONCE=1 RESCALE=1 SCALE=investigation=3,detection=2 SCENARIO=ERROR_RATE_SPIKE $(STACK_PROGRAM) run
	@echo 'the right step is approved and ends the fault; a wrong one is found out and undone'
	@ONCE=1 APPROVE=1 SCENARIO=MEMORY_LEAK $(STACK_PROGRAM) run
	@ONCE=1 APPROVE=wrong $(STACK_PROGRAM) run
	@echo 'the second occurrence of a fault cites the first one and what worked'
	@REOPEN_WINDOW_MINUTES=1 DUPLICATE_WINDOW_MINUTES=1 \
		REMEDIATION_POLICY_FILE=$(CURDIR)/infrastructure/local/checks/second-policy.json \
		$(STACK_PROGRAM) run --quiet --speed 4 -- python3 infrastructure/local/checks/second.py
	@echo 'two faults that nobody scripted: the CPU of this machine, a paused agent'
	@COLLECT_INTERVAL_MS=2000 HOST_MOUNTS_EXCLUDE=/ \
		$(STACK_PROGRAM) run --quiet --speed 6 -- python3 infrastructure/local/checks/unscripted.py
	@echo 'the pages in a browser'
	@$(STACK_PROGRAM) run --quiet --speed 10 -- node infrastructure/browser/run.mjs

score: ## Judge Midwatch by faults of known truth: SEED=n TRIALS=200 VIRTUAL=1
	@$(SETUP) demo
	@cargo build --workspace --bins
	@infrastructure/local/checks/score.sh

exam: ## Score detection on labelled series, seen and unseen: SEED=n PER_FAMILY=8
	@cargo build -p midwatch-cli -p midwatch-series -p midwatch-holdout --bins
	@infrastructure/local/checks/exam.sh

exam-rca: ## Score the investigator on recorded faults: SEED=n COUNT=112
	@cargo build -p midwatch-cli -p midwatch-recordings -p midwatch-holdout --bins
	@infrastructure/local/checks/exam-rca.sh

test-model: ## Investigate once with a real small model (1.2 GB of packages).
	@$(SETUP) test
	@cargo build -p midwatch-local -p midwatch-runtime --bins
	@infrastructure/local/checks/model.sh

soak: ## Long proofs on N seeds (3): kills, scaling, brokers, scores.
	@$(SETUP) test
	@cargo build --workspace --bins
	@infrastructure/local/checks/soak.sh $(or $(N),3)

bench: ## Measure speed, memory, latencies and restarts, as ratios in one run.
	@$(SETUP) test
	@cargo build --workspace --bins
	@cargo build --release $(addprefix -p midwatch-,bench detection correlation \
		investigation remediation communication postmortem api)
	@mkdir -p .midwatch/bench
	@$(STACK_PROGRAM) exec --with kafka,tansu,redis,postgres,vectors,embedder -- \
		target/release/midwatch-bench --json .midwatch/bench/bench.json $(BENCH_ARGS)

screenshots: ## Take the pictures in docs/ anew.
	@$(SETUP) test
	@cargo build --workspace --bins
	@$(STACK_PROGRAM) run --quiet --speed 12 -- node infrastructure/browser/screenshots.mjs

reference: ## Write the references (topics, thresholds) from the code.
	@WRITE_REFERENCE=1 cargo test -q -p midwatch-events --test golden the_reference
	@WRITE_REFERENCE=1 cargo test -q -p midwatch-detection --test thresholds the_tables

lint: ## Check formatting and lints.
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

fmt: ## Format the code.
	cargo fmt --all

clean: stop ## Remove what Midwatch made here: builds, downloads, logs.
	@rm -rf .midwatch
	@cargo clean
