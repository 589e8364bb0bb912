# `make demo` and `make check` are complete on a fresh machine with Python 3.11+ and make.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
PYTEST_ARGS ?=

# The model of tests and benches: seeded untrained weights, made again when what makes it has changed.
MODEL := models/ViT-B-32-untrained-0
MODEL_SOURCES := heimdex_clip/encoder/manifest.py heimdex_clip/encoder/golden.py $(addprefix export/,$(addsuffix .py,\
	build checkpoint golden_inputs graph graph_checks oracle parity tokenizer_file towers weights))

.DEFAULT_GOAL := help
.PHONY: help setup demo check format format-check lint types test model lock clean image push image-budget audit bench bench-start bench-worker bench-preprocess bulk-soak equality equality-arm sanitize fuzz soak

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(READY)  ## make .venv from the hashed lock (PyTorch brings its CUDA libraries: about 6 GB)

# The C extension that the encoder can do without; pip builds it where there is a compiler.
EXTENSION_SOURCES := setup.py $(wildcard heimdex_clip/encoder/csrc/*.[ch] heimdex_clip/encoder/csrc/libjpeg/*.h)

$(READY): requirements/dev.txt requirements/bootstrap.txt pyproject.toml $(EXTENSION_SOURCES)
	@echo "==> setting up .venv (the first time downloads about 3 GB, which takes some minutes)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name it with PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	$(BIN)/uv pip sync --python $(BIN)/python --require-hashes requirements/dev.txt
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY)  ## one photograph through everything, and a checklist of what came back
	$(BIN)/python -m bench demo

check: format-check lint types test  ## what CI runs: format, lint, strict types, tests

format: $(READY)  ## write the code in its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

format-check: $(READY)
	$(BIN)/ruff format --check .

lint: $(READY)
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

test: $(MODEL)/manifest.json  ## tests, with the coverage of worker/ and heimdex_clip/
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(PYTEST_ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered --fail-under=90

model: $(MODEL)/manifest.json  ## the seeded untrained model that tests and benches use

$(MODEL)/manifest.json: $(MODEL_SOURCES) | $(READY)
	$(BIN)/python -m export onnx --untrained 0 --out $(MODEL)

bench-start: $(MODEL)/manifest.json  ## start to first embedding, beside the PyTorch worker
	$(BIN)/python -m bench start --model-dir $(MODEL)

bench-worker: $(MODEL)/manifest.json  ## throughput and latency under load (about 16 minutes)
	$(BIN)/python -m bench worker --model-dir $(MODEL)

bench-preprocess: $(MODEL)/manifest.json  ## preprocessing beside Pillow alone: one core, and through the SDK's loop (3 minutes)
	$(BIN)/python -m bench preprocess --model-dir $(MODEL)

bench: $(MODEL)/manifest.json  ## this project beside its peers on the same model; writes docs/performance.md (20 minutes)
	$(BIN)/python -m bench all --model-dir $(MODEL)

bulk-soak: $(MODEL)/manifest.json  ## bulk: 10,000 rows under kills, a million in flat memory (2 minutes, 2 GB of disk)
	$(BIN)/pytest -s tests/faults/soak_bulk.py

# Of each target; every input that breaks a promise is kept in reports/fuzz.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= authentication contract handler http image manifest tokenizer url

fuzz: $(MODEL)/manifest.json  ## fuzz what reads strangers' input: FUZZ_SECONDS for each of FUZZ_TARGETS, the HTTP door, properties
	@set -e; for target in $(FUZZ_TARGETS); do echo "==> $$target"; \
		$(BIN)/python -m tests.fuzz $$target --seconds $(FUZZ_SECONDS) --corpus build/fuzz/$$target; done
	SCHEMATHESIS_EXAMPLES=500 $(BIN)/pytest -s tests/worker/http/test_schemathesis.py
	$(BIN)/pytest -m hypothesis --hypothesis-profile=explore

EQUALITY_CASES ?= 100000

equality: $(READY)  ## resampler and JPEG decoder against Pillow: EQUALITY_CASES pictures by every variant, 300,000 JPEGs (30 minutes)
	$(BIN)/python -m tests.parity.equality_resample --cases $(EQUALITY_CASES)
	$(BIN)/python -m tests.parity.equality_jpeg

equality-arm: $(READY)  ## the same for NEON, emulated (needs gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user)
	$(BIN)/python -m tests.parity.equality_arm

sanitize: $(READY)  ## the resampler under AddressSanitizer and UndefinedBehaviorSanitizer (needs gcc; 5 minutes)
	$(BIN)/python -m tests.parity.sanitize_resample

soak: $(MODEL)/manifest.json  ## mixed good, bad and hostile jobs at saturation: SOAK_MINUTES, 20 by default
	$(BIN)/pytest -s tests/soak/soak_long.py

# The images' interpreter is Python 3.12; without one, the one below .venv.
IMAGE_PYTHON ?=
IMAGE_LANE ?= cpu
IMAGE_NAME ?= heimdex-clip

image:  ## build one image: IMAGE_LANE=cpu|cuda|tensorrt|tensorrt-rtx|gpu (needs docker buildx)
	NAME=$(IMAGE_NAME) REVISION=$$(git rev-parse HEAD) docker buildx bake --load $(IMAGE_LANE)

push:  ## build it and push it: IMAGE_NAME=REGISTRY/NAME
	NAME=$(IMAGE_NAME) REVISION=$$(git rev-parse HEAD) docker buildx bake --push $(IMAGE_LANE)

image-budget: $(MODEL)/manifest.json  ## replay the images' builds, prove them, hold their sizes to the budgets (1 minute)
	$(BIN)/python -m bench image-budget --model-dir $(MODEL) $(if $(IMAGE_PYTHON),--python $(IMAGE_PYTHON)) \
		--document docs/performance.md

audit: $(READY)  ## SBOM and licences of the images into build/audit, and the locks against a vulnerability database
	$(BIN)/python -m bench image-audit $(if $(IMAGE_PYTHON),--python $(IMAGE_PYTHON))

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url
# The images install what the lock says less what the worker never imports.
leave-out = $(addprefix --no-emit-package ,$(shell sed 's/\#.*//' $(1)))
IMAGE_FROM := -c requirements/dev.txt pyproject.toml -o requirements/

lock:  ## write the hashed requirements files again from pyproject.toml
	$(LOCK) --extra bulk --extra cpu --extra smoke --group dev pyproject.toml -o requirements/dev.txt
	$(LOCK) --extra cpu --group worker -c requirements/dev.txt pyproject.toml -o requirements/worker-cpu.txt
	$(LOCK) --group pyproject.toml:bootstrap -c requirements/dev.txt -o requirements/bootstrap.txt
	$(LOCK) --extra cpu --group export -c requirements/dev.txt pyproject.toml -o requirements/export.txt
	$(LOCK) --no-annotate --extra cpu -c requirements/dev.txt pyproject.toml -o requirements/peers/own.txt
	for peer in $(basename $(wildcard requirements/peers/*.in)); do $(LOCK) --no-annotate $$peer.in -o $$peer.txt || exit; done
	$(LOCK) --extra cpu --group worker $(call leave-out,docker/leave-out.txt) $(IMAGE_FROM)image-cpu.txt
	$(LOCK) --extra gpu --group worker $(call leave-out,docker/leave-out.txt docker/leave-out-cuda.txt) $(IMAGE_FROM)image-cuda.txt
	$(LOCK) --extra gpu --group worker $(call leave-out,docker/leave-out.txt docker/leave-out-tensorrt.txt) $(IMAGE_FROM)image-tensorrt.txt
	$(LOCK) --extra gpu --group worker --group tensorrt-cuda12 $(call leave-out,docker/leave-out.txt docker/leave-out-tensorrt-cuda12.txt) $(IMAGE_FROM)image-tensorrt-cuda12.txt
	$(LOCK) --extra gpu --group worker --group engine $(call leave-out,docker/leave-out.txt docker/leave-out-tensorrt-rtx.txt) $(IMAGE_FROM)image-tensorrt-rtx.txt
	$(LOCK) --group pyproject.toml:engine -c requirements/dev.txt -o requirements/engine.txt

clean:  ## remove what was built, models included
	rm -rf .venv build dist reports models/*/ heimdex_clip/encoder/*.so .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis
