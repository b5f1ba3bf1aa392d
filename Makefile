# nbgate: `make demo` shows it working, `make test` checks it. Everything lives in .venv, nothing is installed outside.

PYTHON ?= python3
VENV   ?= .venv

# As many processes as processors run the tests; each takes a module at a time.
WORKERS ?= $(shell nproc)
PYTEST   = $(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadscope --no-loadscope-reorder

# What is compiled once need not be compiled by each process that a test starts.
unexport PYTHONDONTWRITEBYTECODE

BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
# The demo needs much less than the tests, which bring all of that, too.
DEMO  := $(VENV)/.installed-demo

.DEFAULT_GOAL := help
.PHONY: help demo quick test lint bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-6s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(DEMO) ## run a local SageMaker with two real JupyterLabs and nbgate in front (Ctrl-C ends it)
	@$(BIN)/nbgate demo

quick: $(STAMP) ## run the tests that need no Jupyter, browser or other program, in about a minute
	$(PYTEST) --quick $(ARGS)

test: $(STAMP) ## run all tests; ARGS="-k name" selects
	$(PYTEST) $(ARGS)

lint: $(STAMP) ## formatting, lints, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(STAMP) ## measure cost per request and per frame
	$(BIN)/python -m tests.benchmarks $(ARGS)

clean: ## remove .venv, caches and build products
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find proxy tests -name __pycache__ -type d -prune -exec rm -rf {} +

define environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "nbgate needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true)." >&2; \
	  echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
endef

PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable

$(STAMP): pyproject.toml
	$(environment)
	@echo "Installing nbgate and what its tests need into $(VENV): 1.2 GB, a minute or more, once."
	@$(PIP) '.[demo,test]'
	@touch $@

$(DEMO): pyproject.toml
	$(environment)
	@[ $(STAMP) -nt pyproject.toml ] || { \
	  echo "Installing nbgate and JupyterLab into $(VENV): 340 MB, up to a minute, once."; $(PIP) '.[demo]'; }
	@touch $@
