# Every target makes its own .venv; PYTHON chooses the interpreter it is made from.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: train test check docs bench bench-save bench-compare coverage clean
.PHONY: gpu gpu-tests gpu-questions gpu-streaming gpu-largest gpu-grid

train: $(VENV)/.run
	$(BIN)/bpcore train

# `make test ROOM=kernels` runs the tests of one room, a folder of tests/.
ROOM ?=
test: $(VENV)/.dev
	OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -n auto $(if $(ROOM),tests/$(ROOM))

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pages, in build/docs/index.html; a warning is an error.
docs: $(VENV)/.docs
	rm -rf build/docs build/docs-read
	$(BIN)/sphinx-build -q -W --keep-going -j auto -d build/docs-read docs build/docs

coverage: $(VENV)/.dev
	rm -f .coverage .coverage.*
	OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -q --cov --cov-report= -n auto
	NUMBA_DISABLE_JIT=1 OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -q --cov --cov-append --cov-report= \
		tests/kernels/test_kernels.py tests/kernels/test_counter.py tests/kernels/test_build.py \
		tests/kernels/test_registration.py tests/kernels/test_elementary.py tests/backends/test_conformance.py
	$(BIN)/coverage report --fail-under=90

# Every operation, timed. `make bench-save NAME=before` keeps the times (in .benchmarks/), `make bench-compare` holds new
# ones against the latest that were kept, or against BASELINE=0001, and fails where a median is SLOWER by so much.
NAME ?= baseline
BASELINE ?=
SLOWER ?= 25%
bench: $(VENV)/.dev
	$(BIN)/pytest benchmarks --benchmark-only

bench-save: $(VENV)/.dev
	$(BIN)/pytest benchmarks --benchmark-only --benchmark-save=$(NAME)

bench-compare: $(VENV)/.dev
	$(BIN)/pytest benchmarks --benchmark-only --benchmark-compare$(if $(BASELINE),=$(BASELINE)) \
		--benchmark-compare-fail=median:$(SLOWER) --benchmark-group-by=fullname --benchmark-columns=median,iqr,rounds

# `make gpu` installs what CUDA=cuda12 or CUDA=cuda13 names; `make gpu PYTHON=python3` uses that interpreter as it is.
# After the tests it measures, until BUDGET seconds are over; the same command again goes on where it stopped. Where the
# machine has other frameworks, they are measured too, or those that PEERS=torch-graph,jax names alone. A part that fails
# does not keep the others from running.
CUDA ?= cuda12
BUDGET ?= 900
PEERS ?= auto
RESULTS ?= build/gpu-bench.json
GPU_BENCH = -m bpcore bench --device gpu --peers $(PEERS) --budget $(BUDGET) --resume $(RESULTS)
GPU_PARTS := gpu-tests gpu-questions gpu-streaming gpu-largest gpu-grid
LARGEST := --networks 784-4096-4096-4096-10 --batches 16384
ifeq ($(origin PYTHON), command line)
GPU_PYTHON := PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR) $(PYTHON)
# Where no package brings NVIDIA's compiler, Numba looks for it in CUDA_HOME.
NVCC := $(realpath $(shell command -v nvcc))
ifneq ($(NVCC),)
export CUDA_HOME ?= $(NVCC:/bin/nvcc=)
endif
else
GPU_PYTHON := $(BIN)/python
gpu $(GPU_PARTS): $(VENV)/.$(CUDA)
endif
gpu:
	@$(GPU_PYTHON) -P benchmarks/first_questions.py --look
	@$(MAKE) --keep-going --jobs=1 --no-print-directory $(GPU_PARTS)

gpu-tests:
	$(GPU_PYTHON) -P -m pytest -m gpu --continue-on-collection-errors

gpu-questions:
	$(GPU_PYTHON) -P benchmarks/first_questions.py --out $(dir $(RESULTS))first-questions.json

gpu-streaming:
	$(GPU_PYTHON) -P benchmarks/streaming.py --gib 2

gpu-largest:
	mkdir -p $(dir $(RESULTS))
	$(GPU_PYTHON) -P $(GPU_BENCH) $(LARGEST) --rounds 3

gpu-grid:
	mkdir -p $(dir $(RESULTS))
	$(GPU_PYTHON) -P $(GPU_BENCH) --markdown $(RESULTS:.json=.md)

$(VENV)/pyvenv.cfg:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/pyvenv.cfg pyproject.toml
	$(BIN)/pip install --quiet -e ".[sample]"
	touch $@

$(VENV)/.$(CUDA): $(VENV)/pyvenv.cfg pyproject.toml
	$(BIN)/pip install --quiet -e ".[test,$(CUDA)]"
	touch $@

$(VENV)/.dev: $(VENV)/pyvenv.cfg pyproject.toml
	$(BIN)/pip install --quiet -e ".[dev,sample]"
	touch $@

$(VENV)/.docs: $(VENV)/pyvenv.cfg pyproject.toml
	$(BIN)/pip install --quiet -e ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
