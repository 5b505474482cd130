# Needs only make and Python 3.10 to 3.13 with its venv module; everything goes into .venv.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python -m
INSTALL := $(RUN) pip install -qq --disable-pip-version-check
# cyipopt is built from source, so it is asked for only where the Ipopt library is installed.
EXTRAS := test,dask,docs,grid,load,mpi,notebooks,parquet,plot,traffic$(shell pkg-config --exists ipopt 2>/dev/null && echo ,ipopt)

.PHONY: help demo test test-all explore hunt docs lint types clean

help:
	@echo "make demo     set up the core and run models/grid_prices.py: plan, prices, report"
	@echo "make test     set up everything and run the tests, but for those that take longest"
	@echo "make test-all the whole test suite"
	@echo "make explore  the same with four times as many random games, and others"
	@echo "make hunt     random games against independent oracles: make hunt SEED=7 COUNT=500 HUNT=affine"
	@echo "make docs     build the documentation into build/docs"
	@echo "make lint     check style with ruff, docstrings with numpydoc, spelling with codespell"
	@echo "make types    check types with mypy"
	@echo "make clean    remove .venv, caches and build results"
	@echo "Another Python: make demo PYTHON=python3.12"

demo: $(VENV)/.core
	@$(RUN) models.grid_prices

# Two side by side, who is done takes from the other: many tests wait for processes of their own.
test: $(VENV)/.full
	@$(RUN) pytest -n 2 --dist worksteal -m "not slow"

test-all: $(VENV)/.full
	@$(RUN) pytest -n 2 --dist worksteal

explore: $(VENV)/.full
	@HYPOTHESIS_PROFILE=other $(RUN) pytest -n 2 --dist worksteal

SEED ?= 0
COUNT ?= 50
FIRST ?= 0
hunt: $(VENV)/.full
	@$(RUN) hunts $(HUNT) --seed $(SEED) --count $(COUNT) --first $(FIRST)

docs: $(VENV)/.full
	@$(RUN) sphinx -W --keep-going -n -q -b html -d build/doctrees docs build/docs
	@echo "build/docs/index.html"

lint: $(VENV)/.full
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) numpydoc.hooks.validate_docstrings $$(git ls-files 'stackpyomo/*.py' 2>/dev/null)
	$(RUN) codespell_lib $$(git ls-files '*.py' '*.pyi' '*.md' '*.ipynb' '*.toml' Makefile 2>/dev/null)

types: $(VENV)/.full
	$(RUN) mypy

clean:
	rm -rf $(VENV) build dist docs/_figures .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { \
	    echo "stackpyomo: '$(PYTHON)' not found; name a Python 3.10 to 3.13: make PYTHON=python3.12 ..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || { \
	    echo "stackpyomo: needs Python 3.10 to 3.13, and '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1);" \
	        "name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "stackpyomo: '$(PYTHON)' has no venv module; install it (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@"$(PYTHON)" -m venv $(VENV)
	@touch $@

$(VENV)/.core: pyproject.toml | $(VENV)/.made
	@echo "Installing stackpyomo and its solvers into $(VENV) ..."
	@$(INSTALL) -e .
	@touch $@

# The stamp holds the extras, and is remade when they change (the Ipopt library came or went).
ifneq ($(shell cat $(VENV)/.full 2>/dev/null),$(EXTRAS))
.PHONY: $(VENV)/.full
endif
$(VENV)/.full: pyproject.toml | $(VENV)/.made
	@echo "Installing stackpyomo[$(EXTRAS)] into $(VENV) ..."
	@$(INSTALL) -e ".[$(EXTRAS)]"
	@touch $(VENV)/.core
	@echo "$(EXTRAS)" > $@
