# Everything a developer does with Mailroom. `make` alone prints this list.
PYTHON ?= python3.13
BIN := .venv/bin
STAMP := .venv/.installed
LOCAL := $(BIN)/python -m deploy.local

.DEFAULT_GOAL := help
.PHONY: help install demo run dev migrate makemigrations rotate-keys rotate-signing-keys api-key psql redis_cli clean check \
  format test test-all fuzz soak webhook-soak mutants bench bench-read bench-sync protos lock lock-peers sbom audit test-compose test-peers

# pip shows its progress to people, and is silent in CI.
QUIET = $(if $(MAKE_TERMOUT),,--quiet)

help: ## Show this list
	@grep -hE '^[a-z_-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F '\t' '{printf "  make %-20s %s\n", $$1, $$2}'

install: $(STAMP) ## Create .venv from the lock file
$(STAMP): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Mailroom needs Python 3.13: $(PYTHON) was not found (set PYTHON=...)"; exit 1; }
	@test -d .venv || $(PYTHON) -m venv .venv
	@echo "Installing the $$(grep -c == requirements.lock) packages of requirements.lock into .venv, which takes a minute or two"
	@$(BIN)/pip install $(QUIET) --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: install ## Take a tour: sign in, sync and read mail of a stand-in Google, in a throw-away stack
	@$(LOCAL) demo

run: install ## Run everything until Ctrl-C: Postgres, Valkey, all services, a stand-in Google
	@$(LOCAL) run

dev: install ## The same, restarting a service when its files change
	@$(LOCAL) dev

migrate: install ## Bring the databases up to date
	@$(LOCAL) migrate

makemigrations: install ## Write the next migration: make makemigrations service=mail message="add a column"
	@test -n "$(message)" || { echo 'Say what it does: make makemigrations message="add a column"'; exit 2; }
	@$(LOCAL) makemigrations --message "$(message)" $(if $(service),--service $(service))

rotate-keys: install ## Reencrypt tokens and keys under a new SECRET_KEY, while everything runs (docs/threat-model.md)
	@$(LOCAL) rotate-keys

rotate-signing-keys: install ## Make the next key of access tokens now instead of in its time
	@$(LOCAL) rotate-signing-keys

api-key: install ## Make an API key: make api-key args="--application shop --scopes mail.read" (docs/applications.md)
	@$(LOCAL) api-key $(args)

psql: install ## Open psql on the database of a service, mail's without service=: make psql service=auth
	@$(LOCAL) psql $(if $(service),--service $(service))

redis_cli: install ## Open a command line on the stack's Valkey or Redis
	@$(LOCAL) redis-cli

clean: ## Delete MAILROOM_HOME with all data in it
	@$(LOCAL) clean

check: install ## Lint, types, import rules, migrations; images, compose files and chart where their linters are installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m deploy.migration_lint
	deploy/lint

# A long line is a finding until it is wrapped, a fix can need formatting, and one file that does not parse stops neither.
format: install ## Format, apply safe fixes, and list the findings that remain
	@$(BIN)/ruff format --quiet . || true
	@$(BIN)/ruff check --fix --exit-zero --silent .
	@$(BIN)/ruff format . || true
	@$(BIN)/ruff check .

# The tests start a hundred processes: without bytecode on disk each of them would compile the sources anew. Two of four
# processes are waiting as a rule, which leaves work for two cores.
test test-all: export PYTHONDONTWRITEBYTECODE =
test: install ## All tests but the long ones and those of peers: make test path=tests/mail/search
	$(BIN)/pytest -m "not long and not peers and not compose" -n 4 $(path)

test-all: install ## All tests, the long ones included, and the benchmarks
	$(BIN)/pytest -m "not peers"
	$(MAKE) test-peers all=1
	$(MAKE) fuzz
	$(MAKE) soak
	$(MAKE) webhook-soak
	$(MAKE) bench

fuzz: install ## 10,000 made-up requests to every route: make fuzz requests=100000 seed=7
	FUZZ_REQUESTS=$(or $(requests),10000) FUZZ_SEED=$(or $(seed),1) $(BIN)/pytest -s tests/e2e/test_openapi.py

soak: install ## Kill and break everything for 5 minutes: make soak seconds=3600 seed=7
	$(BIN)/python -m tests.soak $(if $(seconds),--seconds $(seconds)) $(if $(seed),--seed $(seed))

webhook-soak: install ## Deliver 100,000 changes to a receiver that fails, and kill -9: make webhook-soak changes=10000 seed=7
	$(BIN)/python -m tests.soak.webhooks $(if $(changes),--changes $(changes)) $(if $(seed),--seed $(seed))

mutants: install ## Make each mistake of tests/mutants in a copy of the tree; do tests notice? make mutants only=quota
	$(BIN)/python -m tests.mutants $(if $(only),--only "$(only)")

test-peers: install ## Install programs of others and run them against the sandbox; MAILROOM_PEERS=required fails skips
	$(BIN)/python -m tests.peers.install
	$(BIN)/pytest -m "peers$(if $(all),, and not long)" -n 2 tests/peers

test-compose: install ## Build the images and use the whole system in containers; skipped without a Docker engine
	$(BIN)/pytest -m "compose$(if $(all),, and not long)" tests/compose

bench: export BENCH_MESSAGES ?= 50000
bench: install ## The benchmarks: JSON lines and a table each
	for script in $(filter-out %/process_cpu.py,$(wildcard benchmarks/*.py)); do echo "== $$script"; $(BIN)/python $$script || exit 1; done

bench-read: install ## What lists and searches cost with a million messages: make bench-read messages=50000
	$(BIN)/python -m benchmarks.read_cost $(if $(messages),--messages $(messages))

bench-sync: install ## What a synced message costs, against the naive way and COPY
	$(BIN)/python benchmarks/sync_cost.py

PROTOS := $(shell find protos/mailroom -name '*.proto')
PROTOS_OUT ?= protos/gen
protos: install ## Regenerate the gRPC code from protos/
	rm -rf $(PROTOS_OUT) && mkdir -p $(PROTOS_OUT)
	$(BIN)/python -m grpc_tools.protoc -I protos --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy \
	  --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc --python_out=$(PROTOS_OUT) \
	  --grpc_python_out=$(PROTOS_OUT) --mypy_out=$(PROTOS_OUT) --mypy_grpc_out=only_async:$(PROTOS_OUT) $(PROTOS)

COMPILE = $(BIN)/uv pip compile --universal --python-version 3.13 --generate-hashes --no-header --quiet
lock: install ## Recompile requirements.lock from pyproject.toml, from both each image's lock, and those of tools
	$(COMPILE) pyproject.toml --all-extras --group dev --output-file requirements.lock
	for service in auth mail gateway console sandbox; do \
	  $(COMPILE) pyproject.toml --extra $$service --constraint requirements.lock --output-file deploy/locks/$$service.txt || exit 1; \
	done
	for tools in lint-tools supply-chain; do \
	  $(COMPILE) deploy/$$tools.in --no-annotate --output-file deploy/$$tools.txt || exit 1; \
	done

# Programs that the services do not use have an environment of their own.
SUPPLY := .venv/supply-chain
$(SUPPLY): deploy/supply-chain.txt | $(STAMP)
	@rm -rf $@ && $(BIN)/uv venv --quiet --python $(BIN)/python $@
	@$(BIN)/uv pip install --quiet --python $@/bin/python --require-hashes --requirement $< || { rm -rf $@; exit 1; }
	@touch $@

sbom: $(SUPPLY) ## Write a bill of materials (CycloneDX) of each image's Python packages into sbom/
	@mkdir -p sbom
	@for service in auth mail gateway console sandbox; do \
	  PYTHONWARNINGS=ignore $(SUPPLY)/bin/cyclonedx-py requirements deploy/locks/$$service.txt --pyproject pyproject.toml \
	    --output-reproducible --no-validate --output-file sbom/$$service.cdx.json && echo "sbom/$$service.cdx.json" || exit 1; \
	done

audit: $(SUPPLY) ## Look for known advisories of all packages, where an advisory database can be reached
	@deploy/audit $(SUPPLY)/bin/pip-audit requirements.lock

# notmuch's bindings are Debian's, and so is the interpreter that runs these packages: 3.11 or newer.
lock-peers: install ## Recompile the locks of tests/peers; needs npm
	$(BIN)/uv pip compile tests/peers/requirements.in --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-annotate --no-emit-package notmuch2 --quiet --output-file tests/peers/requirements.lock
	npm install --prefix tests/peers --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved
