# `make help` lists what there is. Nothing is fetched or installed twice.

VENV := .venv
BIN := $(VENV)/bin
PIP_VERSION := 26.3
READY := $(VENV)/.ready
ARGS ?=

# The first Python of 3.11 or later that can make virtual environments; PYTHON=... names another.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3; do \
	"$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	2>/dev/null && { echo "$$python"; break; }; done)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test lint resolve bench clean lock cudalock

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: $(READY) ## make .venv with the pinned dependencies, and fetch the default models
	@$(BIN)/antiphon models pull

demo: $(READY) ## start a server, ask it a spoken question, show the answer
	@$(BIN)/antiphon demo $(ARGS)

serve: setup ## serve on 127.0.0.1:8000 until interrupted; ARGS="--port 9000"
	@exec $(BIN)/antiphon serve $(ARGS)

test: $(READY) ## run the tests with the real models; ARGS="-k protocol"
	@$(BIN)/antiphon models pull --all
	$(BIN)/python -m pytest $(ARGS)

lint: $(READY) ## ruff, mypy, and hadolint for the container
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@if [ -x $(BIN)/hadolint ]; then set -x; $(BIN)/hadolint --failure-threshold info Dockerfile.cuda; \
	else echo "hadolint has no package for this machine: Dockerfile.cuda is not checked"; fi

resolve: $(READY) ## hold requirements-cuda.lock against the package index
	$(BIN)/python .ci/cuda_lock.py check

bench: $(READY) ## measure the servers (65 minutes) and rewrite docs/BENCHMARKS.md; ARGS="latency"
	@PYTHON=$(BIN)/python ANTIPHON=$(BIN)/antiphon bash benchmarks/measure_all.sh $(ARGS)

clean: ## remove .venv and what the tools left; models stay in the user's cache
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find engine server kernels tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

lock: ## resolve pyproject.toml anew into requirements.lock (needs Python 3.11)
	@set -e; new=$$(mktemp -d); trap 'rm -rf "$$new"' EXIT; \
	python3.11 -m venv "$$new/venv"; \
	"$$new/venv/bin/python" -m pip install --quiet pip==$(PIP_VERSION); \
	PYTHONWARNINGS=ignore "$$new/venv/bin/python" -m pip install --quiet --dry-run --ignore-installed \
		--report "$$new/report.json" '.[dev]'; \
	"$$new/venv/bin/python" .ci/lock.py < "$$new/report.json" > "$$new/lock"; \
	cp "$$new/lock" requirements.lock

cudalock: $(READY) ## resolve what the CUDA container holds into requirements-cuda.lock
	$(BIN)/python .ci/cuda_lock.py lock > requirements-cuda.lock.new
	mv requirements-cuda.lock.new requirements-cuda.lock

# Written last, so that an interrupted set-up starts again.
$(READY): pyproject.toml requirements.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later with its venv module is needed \
	(on Debian: apt-get install python3 python3-venv); PYTHON=... names one" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet pip==$(PIP_VERSION)
	$(BIN)/python -m pip install --requirement requirements.lock
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation \
		--editable .
	@touch $@
