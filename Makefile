# Every target makes its own .venv and installs what it needs; run again, it only does what is out of date.
# Needed beforehand: python3 (with headers and venv), git, make and g++.

PYTHON ?= python3
# Which torch goes into .venv: any requirement that pip takes.
TORCH_SPEC ?= torch==2.13.0
# And which one `make cuda-build` installs: its wheels on PyPI are of CUDA 13.0, as nvcc must be.
CUDA_TORCH_SPEC ?= torch==2.11.0
# For which GPU `make cuda-tests` compiles: its compute capability without the dot.
CUDA_ARCH ?= 90
# Passed to the build: auto, 0 or 1.
KRONLA_CUDA ?= auto
# More arguments for pytest, for example: make test ARGS="-k factors -x"
ARGS ?=

.SHELLFLAGS := -euc
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
export KRONLA_CUDA

VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
STAMPS := $(VENV)/stamps
# Once torch is in, no other package may bring another one.
CONSTRAINTS := $(VENV)/constraints.txt
LOG := $(VENV)/build.log
PIP := $(PY) -m pip --disable-pip-version-check
TORCH_STAMP := $(STAMPS)/spec-$(shell echo '$(TORCH_SPEC)' | tr -c 'A-Za-z0-9.\n' _)

BUILD_TOOLS := setuptools wheel pybind11 ninja numpy
NATIVE := $(shell find csrc/kernels csrc/bindings -type f 2>/dev/null)
FORMATTED := $(shell find csrc tests -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' 2>/dev/null)

.PHONY: help
help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "Variables: PYTHON=$(PYTHON) TORCH_SPEC=$(TORCH_SPEC) KRONLA_CUDA=$(KRONLA_CUDA) ARGS=$(ARGS)"

# ---- set-up: a stamp for each step that is done ----

$(STAMPS)/venv:
	@echo "[set-up] $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit("kronla needs Python 3.10 or later: set PYTHON" if sys.version_info < (3, 10) else 0)'
	@$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(TORCH_STAMP): $(STAMPS)/venv
	@echo "[set-up] $(TORCH_SPEC) and the build tools (the longest step)"
	@$(PIP) install -qq '$(TORCH_SPEC)' $(BUILD_TOOLS)
	@$(PY) -c 'from importlib.metadata import version; print("torch==" + version("torch"))' > $(CONSTRAINTS)
	@rm -f $(STAMPS)/spec-*; touch $@

# The editable install brings the package's metadata and its run dependencies; a change in csrc only rebuilds in place.
$(STAMPS)/built: $(TORCH_STAMP) setup.py pyproject.toml $(NATIVE)
	@if [ -n "$(filter-out $(NATIVE),$?)" ]; then \
	  echo "[set-up] kronla, editable (log: $(LOG))"; \
	  $(PIP) install -v -c $(CONSTRAINTS) --no-build-isolation -e . > $(LOG) 2>&1; \
	else \
	  $(PY) setup.py build_ext --inplace > $(LOG) 2>&1; \
	fi || { tail -n 60 $(LOG); exit 1; }
	@sed -n 's/^ *\(kronla: .*\)/\1/p' $(LOG)
	@touch $@

# The extras of pyproject.toml: demo, test, bench, dev.
$(STAMPS)/extra-%: pyproject.toml | $(STAMPS)/built
	@echo "[set-up] packages for: $*"
	@$(PIP) install -qq -c $(CONSTRAINTS) 'kronla[$*]'
	@touch $@

.PHONY: build
build: $(STAMPS)/built ## Build the extension into kronla/

# ---- the two commands ----

# OpenMP's threads spin for milliseconds before they sleep: on a busy machine a training is 30 times slower by that.
# 10,000 rounds are about 30 microseconds, and cost nothing on a quiet one.
demo test: export GOMP_SPINCOUNT ?= 10000

.PHONY: demo
demo: $(STAMPS)/built $(STAMPS)/extra-demo ## Train on real data with three optimizers, compare with torch, draw two pictures
	@$(PY) -m kronla demo

.PHONY: test
test: $(STAMPS)/built $(STAMPS)/extra-test $(STAMPS)/extra-demo ## Run the Python tests and the doctests
	@$(PY) -m pytest tests kronla/ops kronla/optim kronla/diagnostics --doctest-modules $(ARGS)

# ---- measuring ----

# Without the settings that make OpenMP's threads sleep at once: they cost torch a factor of up to 10 at n ≤ 128.

.PHONY: bench
bench: $(STAMPS)/built $(STAMPS)/extra-bench ## Print one table of ratios to torch, put it on record (QUICK=1: fewer workloads, no record)
	@env -u OMP_WAIT_POLICY -u GOMP_SPINCOUNT $(PY) -m bench.report $(if $(QUICK),--quick) $(ARGS)

.PHONY: bench-gpu
bench-gpu: ## Build, test, sanitize and measure on a machine with a GPU (ARGS=--dry-run: what can be done without)
	@PYTHON=$(PYTHON) bench/gpu.sh $(ARGS)

# ---- checking ----

.PHONY: lint
lint: $(STAMPS)/extra-dev ## Check style: ruff and clang-format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/clang-format --dry-run --Werror $(FORMATTED)

.PHONY: types
types: $(STAMPS)/extra-dev $(STAMPS)/extra-demo ## Check types: pyright on kronla/
	@$(BIN)/pyright --pythonpath $(PY)

.PHONY: format
format: $(STAMPS)/extra-dev ## Format Python and C++ in place
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/clang-format -i $(FORMATTED)

# $(call ctest,<folder>,<more options for cmake>)
define ctest
	@$(BIN)/cmake -S . -B $(1) -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) \
	  -DPython3_EXECUTABLE=$(abspath $(PY)) $(2) > $(VENV)/cmake.log 2>&1 || { cat $(VENV)/cmake.log; exit 1; }
	@$(BIN)/cmake --build $(1) > $(VENV)/cmake.log 2>&1 || { cat $(VENV)/cmake.log; exit 1; }
	@$(BIN)/ctest --test-dir $(1) --output-on-failure --no-tests=error
endef

.PHONY: ctest
ctest: $(STAMPS)/extra-dev ## Build the torch-free kernels with CMake and run their C++ tests
	$(call ctest,build/cmake,)

.PHONY: sanitize
sanitize: $(STAMPS)/extra-dev ## The same under AddressSanitizer and UndefinedBehaviorSanitizer
	$(call ctest,build/cmake-sanitize,-DKRONLA_SANITIZE=ON)

.PHONY: races
races: $(STAMPS)/extra-dev ## The CUDA kernels on the emulator, every pair of accesses checked for a race (ThreadSanitizer)
	$(call ctest,build/cmake-races,-DKRONLA_RACES=ON)

.PHONY: emulated
emulated: $(STAMPS)/extra-dev $(STAMPS)/extra-test ## Run the Python tests on the emulated CUDA kernels
	@$(BIN)/cmake -S . -B build/cmake -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) \
	  -DPython3_EXECUTABLE=$(abspath $(PY)) > $(VENV)/cmake.log 2>&1 || { cat $(VENV)/cmake.log; exit 1; }
	@$(BIN)/cmake --build build/cmake --target emulated_module > $(VENV)/cmake.log 2>&1 || { cat $(VENV)/cmake.log; exit 1; }
	@$(PY) -m pytest tests -k emulated $(ARGS)

.PHONY: cuda-check
cuda-check: ## Compile every .cu with nvcc for sm_80, sm_90 and sm_100; registers, shared memory and spills of each kernel
	@$(PYTHON) tests/csrc/cuda/check_resources.py $(ARGS)

.PHONY: cuda-bindings
cuda-bindings: $(STAMPS)/built ## Check the CUDA bindings against the headers of this torch, with or without CUDA; needs the toolkit
	@$(PY) tests/csrc/cuda/check_bindings.py

.PHONY: cuda-tests
cuda-tests: ## Build the C++ tests of the CUDA kernels with nvcc, to be run where there is a GPU, into build/cuda-tests
	@$(PYTHON) tests/csrc/cuda/programs.py --architecture $(CUDA_ARCH) $(ARGS)

.PHONY: cuda-build
cuda-build: ## Build with CUDA in a copy with an environment of its own, and say what was built; needs nvcc, no GPU
	@mkdir -p build/cuda
	@git ls-files -z --cached --others --exclude-standard | tar -c --null --files-from=- | tar -x -C build/cuda
	@cd build/cuda && $(MAKE) --no-print-directory build TORCH_SPEC='$(CUDA_TORCH_SPEC)' KRONLA_CUDA=1
	@cd build/cuda && $(BIN)/python -m kronla info

.PHONY: clean
clean: ## Remove everything that was made, .venv included
	@rm -rf $(VENV) build dist demo_out study_out *.egg-info .pytest_cache .ruff_cache .hypothesis .benchmarks kronla/*.so
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
