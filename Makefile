# `make demo` and `make check` are complete on a fresh machine with Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TEST_MODEL := models/ViT-B-32-untrained-0

.DEFAULT_GOAL := help
.PHONY: help setup demo check format lint types test model lock clean bench-start

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(VENV)/.ready  ## make .venv from the hashed lock (about 6 GB: PyTorch brings its CUDA libraries)

$(VENV)/.ready: requirements/dev.txt requirements/bootstrap.txt pyproject.toml
	@echo "==> setting up $(VENV) (the first time downloads about 3 GB: some minutes)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	$(BIN)/uv pip sync --python $(BIN)/python --require-hashes requirements/dev.txt
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation --editable .
	@touch $@

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url

lock:  ## write the hashed requirements files again from pyproject.toml
	$(LOCK) --extra cpu --group dev pyproject.toml -o requirements/dev.txt
	$(LOCK) --extra cpu --group worker -c requirements/dev.txt pyproject.toml -o requirements/worker-cpu.txt
	$(LOCK) --group pyproject.toml:bootstrap -c requirements/dev.txt -o requirements/bootstrap.txt
