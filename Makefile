# Everything from nothing but Python 3.11+, make and the package registries.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
STAMP := $(VENV)/.installed
BENCH := .venv-bench
export UV_PYTHON_DOWNLOADS := never

.DEFAULT_GOAL := help
.PHONY: help run call cloud deploy test check lint types stacks format bench lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements/dev.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "Python's venv module is missing. On Debian: apt-get install python3-venv"; exit 1; }
	@echo "Installing voxyray into $(VENV) ..."
	@$(PIP) install -qq --require-hashes -r requirements/dev.txt
	@$(PIP) install -qq --no-deps --no-build-isolation -e .
	@touch $@

run: $(STAMP) ## Start the server with the default agent
	@$(BIN)/voxyray serve

call: $(STAMP) ## Place one simulated call: an interruption, tools, a transfer
	@$(BIN)/voxyray call --demo

cloud: $(STAMP) ## Run the AWS stacks on this machine
	@$(BIN)/voxyray cloud

deploy: $(STAMP) ## Deploy to AWS, guided by deploy/aws/settings.toml
	@$(BIN)/python deploy/aws/deploy.py $(ARGS)

test: $(STAMP) ## Run every test (no network, no key)
	@$(BIN)/python -m pytest -n auto $(TESTS)

check: lint types stacks test ## What CI runs

lint: $(STAMP) ## Lint and check the formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP) ## Check the types
	@$(BIN)/mypy

stacks: $(STAMP) ## Lint and build the AWS stacks (needs no account)
	@deploy/aws/check

format: $(STAMP) ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

$(BENCH)/.installed: benchmarks/requirements.txt
	@test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	@$(BENCH)/bin/python -m pip --disable-pip-version-check install -qq --require-hashes -r $<
	@touch $@

bench: $(STAMP) $(BENCH)/.installed ## Measure latency and cost beside the peers
	@$(BIN)/python -m benchmarks.latency

lock: $(STAMP) ## Pin the dependencies again, with hashes
	@$(BIN)/uv pip compile pyproject.toml --group dev --all-extras --universal --generate-hashes --no-header -q -o requirements/dev.txt
	@printf 'aws-sam-cli\ncfn-lint\n' | $(BIN)/uv pip compile - --universal --generate-hashes --no-header -q --python-version 3.11 -o requirements/sam.txt
	@printf 'twilio-agent-connect[server]\nopenai\npicows\nmsgspec\n' | $(BIN)/uv pip compile - --universal --generate-hashes --no-header -q --python-version 3.11 -o benchmarks/requirements.txt
	@cd deploy/aws && ../../$(BIN)/uv pip compile requirements.in -c ../../requirements/dev.txt --universal --generate-hashes --no-header -q --python-version 3.13 -o requirements.txt

clean: ## Remove the environment and all caches
	rm -rf $(VENV) $(BENCH) .venv-sam .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find deploy/aws -name .aws-sam -o -name .bundle | xargs rm -rf
