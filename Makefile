# Everything a newcomer needs is `make demo` and `make test`; both work on a fresh clone with
# Python 3.11 or newer (with venv) and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-kernels fuzz check format docs screenshots clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)  ## open the screen on the sample data and the tiny model, ready to start
	$(BIN)/finetui demo

test: $(STAMP)  ## all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-kernels: $(STAMP)  ## the kernels of the fused path in Triton's interpreter; minutes, and no GPU
	TRITON_INTERPRET=1 $(BIN)/python -m pytest -n 2 tests/core/model/fast/test_fused.py \
		tests/core/model/fast/test_check.py tests/core/model/fast/fp8

fuzz: $(STAMP)  ## ten minutes of dirty files against the readers; the result goes to docs/fuzz.md
	$(BIN)/python tests/fuzz.py --seconds 600 --write docs/fuzz.md

check: $(STAMP)  ## format, lint, types, contracts
	$(BIN)/ruff format --check core tui tests sample_data docs benchmarks
	$(BIN)/ruff check core tui tests sample_data docs benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format core tui tests sample_data docs benchmarks
	$(BIN)/ruff check --fix core tui tests sample_data docs benchmarks

docs: $(STAMP)  ## the pages of settings and keys, from the code
	$(BIN)/python docs/make_reference.py

screenshots: $(STAMP)  ## the pictures of the documentation, from a recorded run
	$(BIN)/python docs/make_screenshots.py

clean:
	rm -rf $(VENV) build dist
