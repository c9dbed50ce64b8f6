# Needs python3 (3.10 or newer) and make. Everything else goes into $(VENV).

PYTHON ?= python3
VENV   ?= .venv

ENV_ID ?= LDM-GridNavi-v0
METHOD ?= ldm
SEED   ?= 0
ARGS   ?=
PYTEST_ARGS ?=
JOBS   ?= auto

CONSTRAINTS = constraints.txt
EXTRA       = dev

# Goals (x, y) of the demo: one that it reaches, one that it misses.
TASKS  ?= 5,5 3,4

# the script in train/ that trains METHOD
LEARNER := $(patsubst oracle-%,%,$(patsubst ldm-%,%,$(METHOD)))
SCRIPT  := $(or $(filter varibad promp pearl mql mier,$(LEARNER:e-maml=promp)),recurrent_ppo)

RUN    ?= runs/$(ENV_ID)-$(METHOD)-seed$(SEED)
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
USABLE  = $(BIN)/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null

.DEFAULT_GOAL := help
.PHONY: help install test test-slow test-lowest test-newest style lint format demo train benchmark figures docs clean

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{printf "%-18s %s\n", $$1, $$2}'
	@echo
	@echo "Variables: ENV_ID=$(ENV_ID) METHOD=$(METHOD) SEED=$(SEED) ARGS='--flag value …'"
	@echo "           PYTEST_ARGS='-k name' JOBS=$(JOBS) PYTHON=$(PYTHON) VENV=$(VENV)"

install: $(STAMP)  ## create the virtual environment, if it is missing or out of date

# An existing, usable virtual environment is kept and only updated. Python compiles modules when
# they are imported; compiling all others (mostly torch's) during the installation takes longer.
# A new environment gets the newest pip, since Python 3.10's own searches for versions endlessly.
$(STAMP): pyproject.toml $(CONSTRAINTS)
	@$(USABLE) || { \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	    echo "error: '$(PYTHON)' is missing or older than Python 3.10; choose another one: make PYTHON=python3.12 …" >&2; exit 1; }; \
	  $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "error: '$(PYTHON)' cannot create virtual environments (no ensurepip)." >&2; \
	    echo "       On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }; \
	  echo "Creating $(VENV) with $$($(PYTHON) --version)"; \
	  $(PYTHON) -m venv --upgrade-deps $(VENV); }
	@$(USABLE) || { \
	  echo "error: $(VENV) is not a usable virtual environment of Python 3.10 or newer; remove it, or choose another: make VENV=…" >&2; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check --no-compile -c $(CONSTRAINTS) -e '.[$(EXTRA)]'
	@touch $@

# One process per core with one thread each, since the tensors of tests are small. Each process
# gets a contiguous share of the tests, so that runs that a file trains once are trained once.
test test-slow test-lowest test-newest: export OMP_NUM_THREADS = 1
# Container images often forbid compiled modules to be written. Every process that a test starts
# would then compile torch again.
test test-slow test-lowest test-newest: export PYTHONDONTWRITEBYTECODE =
TESTS = -m pytest -n $(JOBS) --maxprocesses 8 --dist worksteal $(PYTEST_ARGS)

# mypy runs in the background; its output is printed after that of the tests.
test: style  ## run lint, types and tests, as CI does
	@$(BIN)/mypy > $(VENV)/mypy.log 2>&1 & mypy=$$!; \
	  echo "$(BIN)/python $(TESTS)"; $(BIN)/python $(TESTS); tests=$$?; \
	  echo "$(BIN)/mypy"; wait $$mypy; types=$$?; cat $(VENV)/mypy.log; \
	  exit $$(( tests ? tests : types ))

test-slow: install  ## run the tests that take minutes: kills and learning
	$(BIN)/python $(TESTS) -m slow --timeout 600

# unless the command line names another one
test-lowest: PYTHON = python3.10
test-lowest:  ## run the tests with the lowest versions of pyproject.toml, on Python 3.10
	$(MAKE) install VENV=.venv-lowest PYTHON='$(PYTHON)' CONSTRAINTS=constraints-lowest.txt EXTRA=test
	.venv-lowest/bin/python $(TESTS)

test-newest:  ## run the tests with the newest versions that pyproject.toml allows
	rm -rf .venv-newest
	$(MAKE) install VENV=.venv-newest CONSTRAINTS=/dev/null EXTRA=test
	.venv-newest/bin/python $(TESTS)

lint: style  ## run ruff and mypy
	$(BIN)/mypy

style: install  ## run ruff alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install  ## format the code with ruff and apply its fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

demo: install  ## show a trained policy on unseen goals: table, film strip, GIF
	@mkdir -p runs/demo && cp demo/*.json demo/*.csv demo/*.safetensors runs/demo
	$(BIN)/python -m train.evaluate runs/demo --gif --tasks $(TASKS)

train: install  ## train METHOD on ENV_ID, evaluate it, draw figures
	$(BIN)/python -m train.$(SCRIPT) --env-id $(ENV_ID) --method $(METHOD) --seed $(SEED) --run-dir $(RUN) $(ARGS)
	$(BIN)/python -m train.evaluate $(RUN)

benchmark: install  ## measure environment and training steps per second against other libraries
	$(BIN)/python -m benchmarks.stepping
	$(BIN)/python -m benchmarks.training

figures: install  ## redraw the figures of results/gridworld from its CSV files
	$(BIN)/python -m train.figures $(ARGS)

docs: $(STAMP)  ## build the documentation site in docs/_build/html; warnings are errors
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[docs]'
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

clean:  ## remove caches and builds; keep runs/ and the virtual environment
	rm -rf build dist docs/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
