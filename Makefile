# make demo | make test | make check. Set PYTHON to use another interpreter, VENV for another place.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# pip takes a CPU build of exactly this torch where one is at hand; a torch that is there already is kept.
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
	$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/pip install --quiet "$(TORCH)" -c constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@
