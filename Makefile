# Everything a checkout can do. `make` alone lists it.
#
#   make demo        compile a real model, compare it with PyTorch
#   make test        every test, the linter, the formatter's check, the type checker
#   make test-quick  a verdict in under a minute
#   make bench       whole models beside PyTorch, ONNX Runtime and OpenVINO
#   make clean       remove what was built, the environment too

SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.ready-bench
SOURCES := tc tests benchmarks examples
# The tests of test-quick, where they exist: the layers, the smallest end-to-end check, the IR.
QUICK := $(wildcard tests/test_layers.py tests/test_tiny.py tests/test_errors.py \
	tests/test_target.py tests/test_import.py tests/ir tests/schedule)
# One thread a test process: pytest already starts two. Tests that share something costly stay in
# one process (tests/spreading.py), so that it is made once. What pytest makes of the tests' source
# is kept, whatever the shell's settings: each process would spend 6 s on it.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help env demo test test-quick types tests bench clean lint

help:
	@sed -n '3,7s/^# *//p' Makefile

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "make: no python3 on the PATH; install Python 3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
	  "make: $(PYTHON) is older than 3.11; pass a newer one: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "==> making the environment $(VENV) with $(PYTHON)"
	$(PYTHON) -m venv $(VENV) || { rm -f $@; echo \
	  "make: no environment: install the venv module of $(PYTHON)"; exit 1; }

$(READY): pyproject.toml constraints.txt | $(BIN)/python
	@echo "==> installing tc and what it needs (once; some minutes)"
	$(BIN)/python -m pip install -c constraints.txt -e ".[torch,hf,dev]"
	$(BIN)/python -m compileall -q -j 0 tc  # else the first process of many does it
	@touch $@

$(BENCH_READY): $(READY)
	@echo "==> installing the peers to compare with (once)"
	$(BIN)/python -m pip install -c constraints.txt -e ".[torch,hf,dev,bench]"
	@touch $@

env: $(READY)

demo: $(READY)
	$(BIN)/python examples/demo.py

lint: $(READY)
	@echo "==> linter and formatter"
	$(BIN)/ruff check $(wildcard $(SOURCES))
	$(BIN)/ruff format --check $(wildcard $(SOURCES))

# The type checker, which is one process, beside the first of the tests.
test: lint
	+$(MAKE) --no-print-directory -j 2 -k types tests

types: $(READY)
	@echo "==> type checker"
	$(BIN)/mypy

tests: $(READY)
	@echo "==> tests"
	$(PYTEST)

test-quick: lint
	@echo "==> quick tests"
	$(PYTEST) -m "not slow" $(QUICK)

bench: $(BENCH_READY)
	$(BIN)/python -m benchmarks models

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find tc tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} + \
	  2>/dev/null || true
