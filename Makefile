# make demo | test | check | docs | campaign | sbom | lock. Set PYTHON to use another interpreter, VENV for another place.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# First and exactly: pip then takes a CPU build where one is at hand. With a torch of your own: README, Installation.
TORCH := torch==2.13.0

# Processes that run the tests.
TESTERS ?= 2

.PHONY: demo test check docs install campaign sbom lock
demo: $(VENV)/.installed
	$(BIN)/python recipes/demo.py $(DEMO)

test: $(VENV)/.installed
	$(BIN)/python -m pytest --numprocesses $(TESTERS) --dist worksteal

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# The site of the documentation, into build/docs/index.html: without network, warnings are errors.
docs: $(VENV)/.installed
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -q -b html docs build/docs

# Kills, full disks and hostile files against every command (docs/reliability.md): an hour or two; CAMPAIGN="--share .1" less.
campaign: $(VENV)/.installed
	PYTHONPATH=tests $(BIN)/python tests/campaign/run.py $(CAMPAIGN)

# What is installed, as CycloneDX.
sbom: $(VENV)/.installed
	$(BIN)/python tools/sbom.py requirements.lock > sbom.json

# The digests of all that constraints.txt names but torch, whose CPU and CUDA builds differ: needs uv.
lock:
	uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-annotate --no-header --extra dev \
		--constraint constraints.txt $(foreach name,torch triton $(CUDA),--no-emit-package $(name)) \
		pyproject.toml build.in --output-file requirements.lock
CUDA := cuda-bindings cuda-pathfinder cuda-toolkit $(addprefix nvidia-,cublas cuda-cupti cuda-nvrtc cuda-runtime \
	cudnn-cu13 cufft cufile curand cusolver cusparse cusparselt-cu13 nccl-cu13 nvjitlink nvshmem-cu13 nvtx)

install: $(VENV)/.installed
$(VENV)/.installed: pyproject.toml constraints.txt requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt "$(TORCH)"
	$(BIN)/pip install --quiet --require-hashes --no-deps --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@
