# make demo | make test | make check. Set PYTHON to use another interpreter, VENV for another place.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# First and exactly: pip then takes a CPU build where one is at hand. With a torch of your own: README, Installation.
TORCH := torch==2.13.0

.PHONY: demo test check install
demo: $(VENV)/.installed
	$(BIN)/python recipes/demo.py $(DEMO)

test: $(VENV)/.installed
	$(BIN)/python -m pytest

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

install: $(VENV)/.installed
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt "$(TORCH)"
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@
