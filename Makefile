# Everything a developer runs. Each target sets up what it needs, in .venv.

PYTHON ?= python3
GPU_READINESS_CORPUS ?= ../shared/corpus
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready-$(shell cksum pyproject.toml | cut -d ' ' -f 1)
MAPPED := checks profiles reports workloads

.DEFAULT_GOAL := help
.PHONY: help venv demo test lint bench bench-live corpus test-live wheel clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(READY) ## Set up .venv (the other targets do it themselves)

# The name holds the checksum of pyproject.toml, so that a changed dependency sets up anew.
$(READY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  found=$$($(PYTHON) --version 2>/dev/null) || found="not there"; \
	  echo "error: Python 3.11 or newer is needed, $(PYTHON) is $$found: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@rm -f $(VENV)/ready-*
	@touch $@

demo: $(READY) ## Judge a made-up fleet: no GPU, no cluster
	@$(BIN)/gpu-readiness demo $(ARGS)

test: $(READY) ## Run the tests: no GPU, no cluster
	$(BIN)/python -m pytest $(ARGS)

lint: $(READY) ## Check style, types and import rules
	@rm -rf .lint-tree && mkdir -p .lint-tree/gpu_readiness
	@ln -s $(CURDIR)/src/gpu_readiness/* $(addprefix $(CURDIR)/,$(MAPPED)) .lint-tree/gpu_readiness/
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	PYTHONPATH=.lint-tree $(BIN)/lint-imports --no-logo

bench: $(READY) ## Measure how long runs over large fleets take (ARGS="500 1000": so many nodes)
	@$(BIN)/python bench/judge.py $(ARGS)

bench-live: $(READY) ## Measure what gathering a live fleet costs; needs Go (ARGS="500": so many nodes)
	@$(BIN)/python bench/gather.py $(ARGS)

corpus: $(READY) ## Judge recorded faults and healthy nodes (GPU_READINESS_CORPUS=folder)
	@[ -d "$(GPU_READINESS_CORPUS)" ] || { echo "error: there is no corpus in $(GPU_READINESS_CORPUS): make corpus GPU_READINESS_CORPUS=/path/to/corpus" >&2; exit 1; }
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python $(GPU_READINESS_CORPUS)/scenarios/run.py --standards tests/standards --jobs 2 $(ARGS)

test-live: $(READY) ## Run the tests that need a cluster: one on loopback, built with Go, or that of KUBECONFIG
	$(BIN)/python -m pytest tests/live $(ARGS)

wheel: $(READY) ## Build the wheel into dist/
	@rm -rf build dist
	$(BIN)/python -m build --quiet --wheel --no-isolation
	@rm -rf build  # a later build would pack what was deleted since

clean: ## Remove everything that make, builds and runs left here
	rm -rf $(VENV) .lint-tree build dist src/*.egg-info *.egg-info readiness-report readiness-demo
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
