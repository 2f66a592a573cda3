# Everything a fresh machine needs comes from here; `make help` lists the targets.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2

.PHONY: help setup docker demo test lint bench rollout-env clean

help:            ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

setup: $(VENV)/.ready  ## make the virtual environment (Python 3.11, locked packages)

$(VENV)/.ready: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "verifactory needs Python 3.11 or newer; set PYTHON=…")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

docker:          ## get Docker and debootstrap if they are missing, and start the daemon
	@scripts/docker.sh start

demo: setup docker  ## mine real releases, validate tasks, export a shard, train a few steps
	@PATH="$(CURDIR)/$(BIN):$$PATH" scripts/demo.sh

lint: setup      ## style, types, and the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ty check
	$(BIN)/lint-imports

test: setup lint  ## the whole suite; a Docker daemon started for it is stopped again
	scripts/docker.sh with $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

# These want clones of yours, or a warehouse with tasks; the last two are parts of others.
INPUT := corpus exploit_rate naive_baseline transformations recalculation_answers workbook_variants
bench: setup docker  ## every benchmark that needs no input, one after another
	@missed=; for file in $(filter-out $(INPUT:%=benchmarks/%.py),$(wildcard benchmarks/*.py)); do \
	    echo "== $$file"; $(BIN)/python $$file || missed="$$missed $$file"; done; \
	test -z "$$missed" || { echo "failed, or missed a goal:$$missed"; exit 1; }

rollout-env:     ## make vLLM's own environment, .venv-rollout (2.4 GB)
	PYTHON="$(PYTHON)" scripts/rollout_env.sh

clean:           ## remove the virtual environment and caches; the warehouse in .verifactory stays
	rm -rf $(VENV) .venv-rollout .pytest_cache .ruff_cache .hypothesis .import_linter_cache
