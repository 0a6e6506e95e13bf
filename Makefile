# `make` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
WITH_DOCS := $(VENV)/.installed-docs
TORCH_INDEX :=# URL of PyTorch's own wheels, say those without CUDA, from pytorch.org/get-started; without one, pip's usual source
LAB_ARGS :=# more options of `jupyter lab`
NOTEBOOK_TIMEOUT := 300# seconds a cell
JOBS ?= 2# processes of the tests, one thread each
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test lint test-unit test-notebooks test-slow docs bench gpu lab clean

export PIP_NO_INPUT := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED)  ## make .venv with the tested versions of everything (PYTHON=... picks another python3, TORCH_INDEX=<URL> another build of PyTorch)

demo: install  ## run the quickstart notebook at full size: a result table and a page to look at
	@$(BIN)/eclip run 00_quickstart -p size full

test: lint test-unit test-notebooks  ## all quick tests: lint, unit tests, every notebook at smoke size

lint: install  ## check style, spelling, which part imports which, and types
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/codespell
	@said=$$($(BIN)/lint-imports --no-cache --no-logo 2>&1) || { echo "$$said"; exit 1; }
	@$(BIN)/mypy --no-error-summary

test-unit: $(WITH_DOCS)  ## unit tests, in JOBS=2 processes; those marked `data` need ECLIP_TEST_DATA=folder
	$(PYTEST) -m "not slow"

test-notebooks: install  ## run every notebook at smoke size, compare its kept summary, keep it for `make docs`
	$(PYTEST) -p tests.support.executed --nbval-lax --nbval-current-env --nbval-cell-timeout=$(NOTEBOOK_TIMEOUT) notebooks/

test-slow: install  ## the tests that take minutes
	$(BIN)/python -m pytest -q -m slow

docs: $(WITH_DOCS)  ## build the pages of the documentation in runs/docs/html; no warning passes
	$(BIN)/python -m sphinx -q -W --keep-going -b html -d runs/docs/doctrees docs runs/docs/html

bench: install  ## measure speed side by side with peers and naive versions, as ratios; a quiet machine helps
	$(BIN)/python -m tests.benchmarks

gpu: install  ## with a GPU: its tests, then speed and memory at real sizes, written to reports/gpu.md
	$(BIN)/python -m pytest -q -m gpu
	$(BIN)/python -m tests.gpu.measure

lab: install  ## open the notebooks in JupyterLab (LAB_ARGS=... are options of it)
	$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/notebooks $(LAB_ARGS)

clean:  ## remove caches and builds; runs/, with all results in it, and .venv stay
	rm -rf .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis build dist *.egg-info
	find . \( -path ./$(VENV) -o -path ./runs \) -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -exec rm -rf {} +

# Everything below makes the environment; the stamp is older than these files when it has to be renewed.
define fail
{ echo "make install: $(1)" >&2; exit 1; }
endef

$(INSTALLED): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null 2>&1 || $(call fail,no '$(PYTHON)' here. Install Python 3.11 or newer or name one: make install PYTHON=/path/to/python3)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  $(call fail,'$(PYTHON)' is not Python 3.11 or newer. Name a newer one: make install PYTHON=/path/to/python3)
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  $(call fail,'$(PYTHON)' lacks its venv module. On Debian and Ubuntu: apt install python3-venv)
	@$(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  $(PYTHON) -m venv --clear $(VENV) || $(call fail,could not make $(VENV); the lines above say why)
	@echo "Installing into $(VENV); the first time takes some minutes (PyTorch is large) ..."
	@[ -z '$(TORCH_INDEX)' ] || \
	  $(BIN)/python -m pip install -q --index-url '$(TORCH_INDEX)' $$(grep -E '^(torch|torchvision)==' constraints.txt) || \
	  $(call fail,no PyTorch from '$(TORCH_INDEX)'; pip says above why. pytorch.org/get-started has the URLs)
	@quiet=-qq; if [ -t 1 ]; then quiet=; fi;  # progress for a reader, errors only for a log \
	  $(BIN)/python -m pip install $$quiet -c constraints.txt -e '.[dev,formats,pretrain]' || \
	  $(call fail,pip could not install everything; its lines above say why. Once that is mended: make install)
	@touch $@

$(WITH_DOCS): $(INSTALLED)  # what only the pages need, and the tests of them
	@$(BIN)/python -m pip install -qq -c constraints.txt -e '.[dev,docs,formats,pretrain]' || \
	  $(call fail,pip could not install what `make docs` needs; its lines above say why)
	@touch $@
