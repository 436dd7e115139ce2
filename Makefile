# Two commands do everything: `make compare` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PYTEST := OMP_NUM_THREADS=1 PYTHONWARNDEFAULTENCODING=1 $(BIN)/python -m pytest
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt

.PHONY: compare test quick durations kills lint types imports unit docs site bench dist clean

compare: $(VENV)/run  ## install, train seven kinds of model on real digits, and report
	$(BIN)/caelab compare --out compare

test: $(VENV)/test  ## the whole check
	$(MAKE) lint types imports unit site

quick: lint  ## lint, and every test that is not slow, once: under a minute on two cores
	$(PYTEST) -n auto --dist worksteal --quick

durations: $(VENV)/test  ## measure which tests are slow, on an idle machine
	$(PYTEST) -n0 --measure

kills: KILLS ?= 100
kills: SEED ?= 0
kills: $(VENV)/test  ## kill comparisons and a study KILLS times each, at the moments that SEED draws; it may take an hour
	CAELAB_KILLS=$(KILLS) CAELAB_STUDY_KILLS=$(KILLS) CAELAB_SEED=$(SEED) $(PYTEST) -n0 --timeout=0 -k killed \
		tests/core/study/test_kills.py tests/core/study/test_study_kills.py

lint: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/test
	$(BIN)/mypy

imports: $(VENV)/test
	$(BIN)/lint-imports

unit: $(VENV)/test
	$(PYTEST) -n auto --dist worksteal

docs: $(VENV)/docs
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build

site: docs  ## the documentation, built and read in a browser without a network
	CAELAB_SITE=1 $(PYTEST) -n0 tests/test_site.py

bench: $(VENV)/run
	$(BIN)/python -m tests.benchmarks

dist: $(VENV)/dist  ## the source distribution and the wheel, built from a clean copy and checked
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

# Each mark says what has been installed; a changed pyproject or constraints file installs again.
$(VENV)/python:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/run: $(VENV)/python pyproject.toml constraints.txt caelab/version.py
	$(PIP) -c constraints.txt -e .
	touch $@

$(VENV)/test: $(VENV)/run
	$(PIP) -c constraints.txt -e .[test]
	touch $@

$(VENV)/dist: $(VENV)/python
	$(PIP) build twine
	touch $@

$(VENV)/docs: $(VENV)/test
	$(PIP) -c constraints.txt -e .[docs]
	touch $@

clean:
	rm -rf $(VENV) dist docs/_build .pytest_cache .mypy_cache .ruff_cache
