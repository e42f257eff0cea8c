PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
THREADS ?= 1
ENGINE := engine/CMakeLists.txt $(shell find engine/include engine/src -type f) engine/python/CMakeLists.txt engine/python/binding.cpp
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: install develop demo test tools check bench bench-engine full-runs full-runs-status full-results clean

install: $(VENV)/installed        ## everything that compressing and exporting needs
develop: $(VENV)/developing       ## and what tests, lint and types need

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

# torch first and by its exact version: a bare name or a range would draw the largest build there is.
$(VENV)/installed: pyproject.toml constraints.txt $(ENGINE) | $(VENV)/bin/pip
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	$(PIP) -e '.[train,onnx]'
	touch $@

$(VENV)/developing: $(VENV)/installed
	$(PIP) 'sottovoce[recognition,dev]'                  # it is installed: only what these bring is fetched
	touch $@

demo: install                     ## compress the sample teacher on the sample speech and show the result
	$(BIN)/sottovoce compress recipes/quickstart.toml --run runs/quickstart

test: develop tools               ## all tests; none is skipped for a program that is not installed
	EVERY_TOOL=1 $(BIN)/python -m pytest -n auto --dist loadfile

tools:                            ## Chromium opens the report; compilers and emulators take the engine to other CPUs
	@missing=; need() { command -v "$$1" >/dev/null || missing="$$missing $$2"; }; \
	need "$${CHROMIUM:-chromium}" chromium; \
	need cmake cmake; \
	need clang clang; \
	need aarch64-linux-gnu-gcc "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"; \
	need arm-linux-gnueabihf-gcc "gcc-arm-linux-gnueabihf libc6-dev-armhf-cross"; \
	need qemu-aarch64 qemu-user; \
	test -z "$$missing" || { echo "installing$$missing"; \
		apt-get update -q >/dev/null && apt-get install -y -q --no-install-recommends $$missing >/dev/null; }

check: develop                    ## lint, format of the C and types
	$(BIN)/ruff check .
	find engine -name '*.[ch]' -o -name '*.cpp' | xargs $(BIN)/clang-format --dry-run --Werror
	$(BIN)/mypy

bench: demo                       ## the measured tables: benchmarks/results/*.json, RESULTS.md, the table of the README
	$(BIN)/python benchmarks/enhance.py runs/quickstart

bench-engine: install             ## the engine beside onnxruntime: times, memory, 8 bits; RESULTS.md and docs/engine.md
	$(BIN)/python benchmarks/engine_speed.py

full-runs: install                ## all full-size runs, hours to days; THREADS=1 for each, a second make may work beside
	$(BIN)/python benchmarks/full_runs.py work --threads $(THREADS)

full-runs-status: install         ## which are done, running and left
	@$(BIN)/python benchmarks/full_runs.py status

full-results: install             ## RESULTS.md and the tables of the documents, from the full-size runs
	$(BIN)/python benchmarks/full_runs.py results

clean:                            ## the environment and all runs
	rm -rf $(VENV) runs
