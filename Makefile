PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: install develop demo test check bench clean

install: $(VENV)/installed        ## everything that compressing and exporting needs
develop: $(VENV)/developing       ## and what tests, lint and types need

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

# torch first and by its exact version: a bare name or a range would draw the largest build there is.
$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/pip
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	$(PIP) -e '.[train,onnx]'
	touch $@

$(VENV)/developing: $(VENV)/installed
	$(PIP) -e '.[train,onnx,dev]'
	touch $@

demo: install                     ## compress the sample teacher on the sample speech and show the result
	$(BIN)/sottovoce compress recipes/quickstart.toml --run runs/quickstart

test: develop                     ## all tests; the report is opened in a headless Chromium
	sh tests/report/chromium.sh
	$(BIN)/python -m pytest

check: develop                    ## lint and types
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: develop                    ## the measured tables: benchmarks/results/*.json and benchmarks/RESULTS.md
	$(BIN)/python benchmarks/enhance.py runs/quickstart

clean:                            ## the environment and all runs
	rm -rf $(VENV) runs
