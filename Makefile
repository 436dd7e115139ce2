# Two commands do everything: `make compare` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt

.PHONY: compare test check lint types imports unit docs bench clean

compare: $(VENV)/run  ## install, train seven kinds of model on real digits, and report
	$(BIN)/caelab compare --out compare

test: $(VENV)/test  ## the whole check
	$(MAKE) lint types imports unit docs

lint: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/test
	$(BIN)/mypy

imports: $(VENV)/test
	$(BIN)/lint-imports

unit: $(VENV)/test
	OMP_NUM_THREADS=1 PYTHONWARNDEFAULTENCODING=1 $(BIN)/python -m pytest -n auto --dist worksteal

docs: $(VENV)/docs
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build

bench: $(VENV)/run
	$(BIN)/python -m tests.benchmarks

# Each mark says what has been installed; a changed pyproject or constraints file installs again.
$(VENV)/python:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/run: $(VENV)/python pyproject.toml constraints.txt
	$(PIP) -c constraints.txt -e .
	touch $@

$(VENV)/test: $(VENV)/run
	$(PIP) -c constraints.txt -e .[test]
	touch $@

$(VENV)/docs: $(VENV)/test
	$(PIP) -c constraints.txt -e .[docs]
	touch $@

clean:
	rm -rf $(VENV) docs/_build .pytest_cache .mypy_cache .ruff_cache
