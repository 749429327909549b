# Everything here needs Python 3.11 or newer and make, nothing else: the first target that runs sets up .venv.

PYTHON ?= python3
VENV   ?= .venv
# Torch is installed first and alone, so that nothing else drags in another build of it.
TORCH  ?= torch==2.13.0
BIN    := $(VENV)/bin
FILES  := src tests benchmarks
# Threads that wait do not spin: on a machine with other work they would slow one another down.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test check index docs clean

## demo: the main job on the embedded data: which search model is best on Python's own standard library?
demo: $(VENV)/.installed
	$(BIN)/twofold pull minilm
	$(BIN)/twofold compare search --out out
	$(BIN)/twofold search out/best "read a csv file"

## test: everything that must hold
test: $(VENV)/.developing
	$(BIN)/ruff check $(FILES)
	$(BIN)/ruff format --check $(FILES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m twofold.catalog.build --check
	$(BIN)/mkdocs build --quiet --strict
	$(BIN)/pytest

## check: the same for what changed since the last commit, in under a minute
check: $(VENV)/.developing
	$(BIN)/ruff check $(FILES)
	$(BIN)/ruff format --check $(FILES)
	$(BIN)/lint-imports
	$(BIN)/python -m twofold.catalog.build --check
	$(BIN)/python tests/changed.py

## index: write the register's index and the results pages again
index: $(VENV)/.developing
	$(BIN)/python -m twofold.catalog.build
	$(BIN)/python -m twofold.trials.pages docs/results

docs: $(VENV)/.developing
	$(BIN)/mkdocs build --strict

$(VENV)/.torch:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(VENV)/.developing: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) out site build .pytest_cache .mypy_cache .ruff_cache
