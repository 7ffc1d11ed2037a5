# Everything a developer does with Mailroom. `make` alone prints this list.
PYTHON ?= python3.13
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install check format test test-all protos lock

help: ## Show this list
	@grep -hE '^[a-z_-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F '\t' '{printf "  make %-16s %s\n", $$1, $$2}'

install: $(STAMP) ## Create .venv from the lock file
$(STAMP): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Mailroom needs Python 3.13: $(PYTHON) was not found (set PYTHON=...)"; exit 1; }
	@test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

check: install ## Lint, types, import rules, generated code up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install ## Format and apply safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: install ## Unit, rpc, end-to-end tests and a short soak
	$(BIN)/pytest -m "not long"

test-all: install ## All tests, the long ones included
	$(BIN)/pytest

PROTOS := $(shell find protos/mailroom -name '*.proto')
protos: install ## Regenerate the gRPC code from protos/
	rm -rf protos/gen && mkdir -p protos/gen
	$(BIN)/python -m grpc_tools.protoc -I protos --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy \
	  --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc --python_out=protos/gen --grpc_python_out=protos/gen \
	  --mypy_out=protos/gen --mypy_grpc_out=only_async:protos/gen $(PROTOS)

lock: ## Recompile requirements.lock from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.13 \
	  --generate-hashes --no-header --quiet --output-file requirements.lock
