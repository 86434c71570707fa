# Two commands matter: `make demo` and `make test`. Both set everything up on their first run, in
# .venv; a second run does no set-up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SERVER := $(VENV)/server.installed
DEVELOPMENT := $(VENV)/development.installed

# One torch thread per process: processes share the cores.
export OMP_NUM_THREADS ?= 1

.PHONY: help demo test test-integration test-long container-full lint bench bench-official licences clean

help:
	@echo "make demo              set up and run the main job on a drawn plate"
	@echo "make test              set up and prove what can be proved here"
	@echo "make test-integration  the heavier groups: browser, other clients, containers, …"
	@echo "make lint              style, types and import directions only"
	@echo "make bench             the benchmarks, as a report"
	@echo "make bench-official    FOLDER=… PROMPT=person: published models on a DAVIS folder"
	@echo "make test-long         fifty random kills of workers and server"
	@echo "make container-full    the whole image, torch included, on a bootstrapped Debian"
	@echo "make licences          licences of everything the default install brings"

demo: $(SERVER)
	@$(BIN)/segmatte demo

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not integration" tests

test-integration: $(DEVELOPMENT)
	$(BIN)/python -m tests.integration

test-long: $(DEVELOPMENT)
	SEGMATTE_KILLS=50 $(BIN)/python -m pytest -m integration --timeout 3600 tests/system/test_server_kills.py

lint: $(DEVELOPMENT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(DEVELOPMENT)
	$(BIN)/python -m tests.benchmarks

bench-official: $(DEVELOPMENT)
	$(BIN)/python -m tests.benchmarks.official "$(FOLDER)" --prompt "$(or $(PROMPT),person)" --fetch --out docs/benchmarks

container-full: $(DEVELOPMENT)
	$(BIN)/python -m tests.integration.containers

licences: $(DEVELOPMENT)
	$(BIN)/python -m tests.licences

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Segmatte needs Python 3.10 or newer, found %d.%d. Name one: make PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)

# The torch pair is pinned: another one of either breaks the other.
$(SERVER): pyproject.toml requirements/models.txt | $(BIN)/python
	$(PIP) install --quiet setuptools wheel torch==2.14.1 torchvision==0.29.1
	SAM2_BUILD_CUDA=0 $(PIP) install --quiet --no-deps --no-build-isolation -r requirements/models.txt
	$(PIP) install --quiet -e '.[server]'
	touch $@

$(DEVELOPMENT): pyproject.toml | $(SERVER)
	$(PIP) install --quiet -e '.[server,web,ray,dev]'
	touch $@

clean:
	rm -rf $(VENV) demo_output build *.egg-info
