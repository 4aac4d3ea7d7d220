# Two commands are enough for a newcomer: `make run` and `make test`.
# Needs only Python 3.11 or newer; PYTHON=/path/to/python3.x selects another one.

VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?=
# Tests run in parallel, each process with its own servers, unless TEST_REDIS_URL names a server. One
# process more than cores: many tests wait for a browser or a socket. The files in the order of their
# names: those of browsers and programs, the longest, are not left to the end.
# `make test ARGS=...` runs a part.
PROCESSES := `$(BIN)/python -c 'import os; print(min(4, 1 + (os.cpu_count() or 1)))'`
ALL := $(if $(TEST_REDIS_URL),,--numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder)
HOST ?= 127.0.0.1
PORT ?= 8000
MINUTES ?= 10
EXAMPLES ?= 5000

.DEFAULT_GOAL := help
.PHONY: help run test apps lint format bench soak fuzz mutants screenshots wheel constraints docs clean

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20

run: $(VENV)/.installed ## Start the gate (with a demo site behind it unless ZENZEFI_TARGET_URL is set)
	@exec $(BIN)/zenzefi serve --host $(HOST) --port $(PORT)

test: $(VENV)/.installed-test ## Run all tests on a PostgreSQL and a Redis started for them
	@$(BIN)/python -m pytest $(or $(ARGS),$(ALL))

apps: $(VENV)/.created ## Install the real applications that tests run, once, into a cache
	@$(BIN)/python -m tests.apps.install
	@$(BIN)/python -m tests.kit.certified_provider

lint: $(VENV)/.installed-lint ## Check style, types, imports, spelling and unused code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/vulture

format: $(VENV)/.installed-lint ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

mutants: $(VENV)/.installed-test ## Remove each mitigation of the threat model and see its tests fail
	@$(BIN)/python -m scripts.mutants $(ARGS)

bench: $(VENV)/.installed-test ## Measure the gate and other proxies side by side; writes docs/benchmarks.md
	@$(BIN)/python -m bench $(ARGS)

soak: $(VENV)/.installed-test ## Mixed traffic for MINUTES=10: every request gets its response, nothing leaks
	@SOAK_SECONDS=$$(($(MINUTES) * 15)) $(BIN)/python -m pytest tests/proxy/test_leaks.py -q $(ARGS)

fuzz: $(VENV)/.installed-test ## Send EXAMPLES=5000 random request streams
	@FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest tests/http/test_request_stream.py \
		-k pipelined -q --timeout 0 $(ARGS)

screenshots: $(VENV)/.installed-test ## Take the screenshots in docs/screenshots again
	@$(BIN)/python scripts/screenshots.py $(ARGS)

docs: $(VENV)/.installed-test ## Generate the pages of docs/reference
	@$(BIN)/python -m scripts.reference

wheel: $(VENV)/.installed-test ## Build the wheel into dist/
	@$(BIN)/python -m build --wheel

constraints: $(VENV)/.installed ## Write the newest version of every dependency into constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.5'
	@$(BIN)/python -m scripts.constraints

clean: ## Delete the virtual environment and all caches (never your data)
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache

# The environments. Each stamp is newer than what decides its content, so a second run installs
# nothing. All live in one virtual environment; the extras only add to it.

$(VENV)/.created: scripts/find-python.sh
	@PYTHON='$(PYTHON)' sh scripts/find-python.sh make-venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created setup.cfg setup.py pyproject.toml constraints.txt
	@echo "Installing Zenzefi into $(VENV) (a minute or two the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@echo "Installing what the tests need ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

$(VENV)/.installed-lint: $(VENV)/.installed-test
	@echo "Installing the linters ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,lint]'
	@touch $@
