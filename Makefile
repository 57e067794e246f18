# Everything a newcomer needs; each target sets up what it needs by itself.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# More than twice as many as there are cores, since they wait for half of their time. PYTEST_ARGS come
# later, so that `-n 0` makes it one process.
WORKERS = $(shell $(BIN)/python -c 'import os; print(min(8, 2 * os.cpu_count() + 1))')
# Some containers set it; then each of several hundred processes would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# What the demo needs; the pins are the same for all.
$(VENV)/.installed: pyproject.toml requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("avatarpool needs Python 3.11 or later, and this is %d.%d: choose one with PYTHON=python3.11" % sys.version_info[:2])'
	@echo "Installing avatarpool and the libraries that it needs into $(VENV) (26 MB to download: about half a minute)..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) -c requirements/dev.txt hatchling editables
	@$(PIP) -c requirements/dev.txt --no-build-isolation -e .
	@touch $@

$(VENV)/.ready: $(VENV)/.installed
	@echo "Installing what tests, checks and examples need into $(VENV) (another 140 MB to download: one to five minutes)..."
	@$(PIP) -r requirements/dev.txt
	@touch $@

.PHONY: setup
setup: $(VENV)/.ready ## Make the virtual environment, with everything in it

.PHONY: install
install: $(VENV)/.installed ## Make the virtual environment with avatarpool alone: for the tutorial

.PHONY: demo
demo: install ## The main job on the embedded local service: 25 seconds
	$(BIN)/avatarpool run --interval 2

.PHONY: test
test: setup ## All tests, on all cores (PYTEST_ARGS="-n 0 tests/pool": these, in one process)
	$(PYTEST) $(PYTEST_ARGS)

.PHONY: test-all
test-all: ## All tests on asyncio and uvloop, with each Python 3.11 to 3.13 that is here
	for version in 3.11 3.12 3.13; do \
		command -v python$$version >/dev/null && python$$version --version >/dev/null 2>&1 || continue; \
		TEST_LOOP=asyncio,uvloop $(MAKE) test PYTHON=python$$version VENV=.venv-$$version || exit 1; \
	done

.PHONY: lint
lint: setup ## ruff, mypy --strict and the layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: docs
docs: setup ## Run the code blocks of README and docs/
	$(BIN)/python -m pytest -q tests/docs

.PHONY: check
check: lint test docs integrations ## Everything that CI runs

.PHONY: coverage
coverage: setup ## Branch coverage of the package, pool and protocol first
	$(PYTEST) -q --cov --cov-report=term-missing:skip-covered

# Frameworks that want other versions than the rest; each has its tests and its example.
INTEGRATIONS := livekit pipecat

.venv-%/.tested: pyproject.toml requirements/%.txt
	@echo "Installing $* and what its tests need into .venv-$* (150 MB to download: one to five minutes)..."
	@$(PYTHON) -m venv .venv-$*
	@.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/$*.txt
	@.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

.PHONY: integrations
integrations: $(INTEGRATIONS:%=.venv-%/.tested) ## Tests of agent frameworks, each in a virtual environment of its own
	for each in $(INTEGRATIONS); do \
		.venv-$$each/bin/python -m pytest tests/integrations/$$each $(PYTEST_ARGS) || exit 1; \
	done

FUZZ_SECONDS ?= 600

.PHONY: fuzz
fuzz: setup ## Strangers' bytes, ten minutes for each reader (FUZZ_SECONDS=5: a look)
	$(BIN)/python tests/fuzz/fuzz.py --seconds $(FUZZ_SECONDS) $(FUZZ_ARGS)

.venv-bench/.ready: pyproject.toml requirements/bench.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/bench.txt
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

.PHONY: bench
bench: .venv-bench/.ready ## Measure it beside its peers: some twenty minutes (BENCH_ARGS=--quick: a look)
	.venv-bench/bin/python benchmarks/run.py $(BENCH_ARGS)

.PHONY: format
format: setup ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.venv-lipsync/.ready: pyproject.toml requirements/dev.txt tools/lipsync/requirements.txt
	$(PYTHON) -m venv .venv-lipsync
	.venv-lipsync/bin/python -m pip install --quiet -r requirements/dev.txt -r tools/lipsync/requirements.txt
	.venv-lipsync/bin/python -m pip install --quiet --no-build-isolation --no-deps -e .
	@touch $@

.PHONY: lipsync-train
lipsync-train: .venv-lipsync/.ready ## Train the local service's lips anew (tools/lipsync/README.md)
	.venv-lipsync/bin/python tools/lipsync/corpus.py build/lipsync
	.venv-lipsync/bin/python tools/lipsync/train.py build/lipsync src/avatarpool/lipsync/visemes.npz
	.venv-lipsync/bin/python tools/lipsync/tune.py build/lipsync src/avatarpool/lipsync/visemes.npz
	.venv-lipsync/bin/python tools/lipsync/voice.py build/lipsync src/avatarpool/lipsync/visemes.npz

.PHONY: lipsync-eval
lipsync-eval: .venv-lipsync/.ready ## Score them: on unheard voices, speaker by speaker, and on what is no speech
	.venv-lipsync/bin/python tools/lipsync/corpus.py build/lipsync --for-evaluation
	.venv-lipsync/bin/python tools/lipsync/evaluate.py build/lipsync

# protoc 25 writes code that every protobuf runtime from 5.29 to 7 loads; newer
# compilers write code that refuses runtimes two majors away.
.PHONY: proto
proto: ## Regenerate src/avatarpool/protocol/wire from proto/ (Python 3.11 or 3.12)
	$(PYTHON) -m venv .venv-proto
	.venv-proto/bin/python -m pip install --quiet 'grpcio-tools==1.62.3' 'setuptools<80'
	.venv-proto/bin/python -m grpc_tools.protoc -Iavatarpool/protocol/wire=proto \
		--python_out=src --pyi_out=src proto/message.proto proto/envelope.proto

.PHONY: lock
lock: setup ## Renew the pinned versions in requirements/
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url \
		--no-header --no-annotate --group dev --extra audio --extra opentelemetry \
		--extra prometheus --extra redis --extra render --extra uvloop \
		pyproject.toml -o requirements/dev.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url \
		--no-header --no-annotate --group bench --extra uvloop --constraint requirements/dev.txt \
		pyproject.toml -o requirements/bench.txt
	for extra in $(INTEGRATIONS); do \
		grep -v '^protobuf==' requirements/dev.txt | \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url \
			--no-header --no-annotate --group integrations --extra $$extra --extra uvloop \
			--constraint /dev/stdin pyproject.toml -o requirements/$$extra.txt || exit 1; \
	done
