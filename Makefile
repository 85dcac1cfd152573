# The few commands of the project; each installs what it needs.
PYTHON ?= python3.11
# Further arguments of pip, such as the index that holds the CPU build of torch.
PIP_ARGS ?=
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: install demo test soak deployment-test check format clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(PIP_ARGS) --editable '.[dev]'
	touch $(STAMP)

demo: install
	$(BIN)/cochlear demo --out demo

# One file of tests at a time on each core; more threads than cores would only be in each other's way.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile

# A hundred jobs while everything is killed around them; prints the tally.
soak: install
	$(BIN)/python -m benchmarks.soak --jobs 100 --seed 0

# Builds the images, composes the service and breaks it; needs a Docker engine with Compose. Minutes.
deployment-test: install
	COCHLEAR_DEPLOYMENT_TESTS=1 $(BIN)/python -m pytest tests/deployment -v

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv demo .pytest_cache .mypy_cache .ruff_cache
