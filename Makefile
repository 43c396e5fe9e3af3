# The commands of the project; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help install demo up down status logs reset repro test lint format clean \
        bench-clickhouse bench-demo bench-recovery bench-data bench-models bench-serving

PYTHON ?= $(shell command -v python3.11 || command -v python3)
RUN := .venv/bin/python
# Each worker starts its own servers: about 2 GB.
TEST_WORKERS ?= 2
INSTALLED := .venv/.installed
# Nobody measures us; see also stack/settings.py, which tells every process we start.
export DO_NOT_TRACK := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The endpoint lets nobody in without a key. For a first look on a laptop these two open it, and it says so at start.
# Not where `.env`, the environment or the command say REELGRAPH_DEVELOPMENT=false, or let it listen beyond loopback:
# in any case of letters, as the settings are read.
OPENNESS := REELGRAPH_(DEVELOPMENT|BIND_HOST)
ifeq ($(shell echo '$(.VARIABLES)' | grep -Eiow '$(OPENNESS)'; grep -Eisw '^[^#]*$(OPENNESS)' .env),)
demo up: export REELGRAPH_DEVELOPMENT ?= true
endif

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

$(INSTALLED): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo "Python 3.11 is needed, $(PYTHON) is another: set PYTHON=/path/to/python3.11"; exit 1; }
	@free=$$(df -Pk . | awk 'NR==2 {print $$4}'); [ "$$free" -gt 6000000 ] || \
	  { echo "The environment needs 6 GB on this disk; $$((free / 1024)) MB are free."; exit 1; }
	@echo "Installing $$(grep -c == constraints.txt) packages into .venv (about 2.5 minutes with a warm package cache)"
	@[ -x .venv/bin/python ] || $(PYTHON) -m venv .venv || \
	  { echo "No virtual environment could be made: on Debian, apt-get install python3.11-venv"; exit 1; }
	@set -o pipefail; $(RUN) -m pip install -r constraints.txt 2>&1 | bash stack/pip_progress.sh
	@$(RUN) -m pip install --quiet --no-deps -e .
	@$(RUN) -m pip check
	@touch $(INSTALLED)

install: $(INSTALLED) ## create .venv and install everything, pinned

demo: $(INSTALLED) ## from nothing to a served feed; DATA=path/to/KuaiRand-Pure for real data
	@$(RUN) -m orchestration.cli demo $(if $(DATA),--data "$(DATA)")

up: $(INSTALLED) ## start the stack and wait until it is healthy
	@$(RUN) -m orchestration.cli up

down: $(INSTALLED) ## stop everything that was started
	@$(RUN) -m orchestration.cli down

status: $(INSTALLED) ## the services, their health, memory and URLs
	@$(RUN) -m orchestration.cli status

logs: $(INSTALLED) ## follow the logs; SERVICE=name for one of them
	@$(RUN) -m orchestration.cli logs $(SERVICE) -f

reset: $(INSTALLED) ## delete all state (asks first; YES=1 does not)
	@$(RUN) -m orchestration.cli reset $(if $(YES),--yes)

repro: $(INSTALLED) ## train and judge again from the tracked training set, outside Dagster
	@$(RUN) -m orchestration.cli repro

test: lint ## lint, types and all tests, with coverage (own ports and folders; a stack may be up)
	@rm -f .coverage .coverage.*
	@$(RUN) -m pytest --cov --cov-report= -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)
	@$(RUN) -m coverage combine --append -q 2>/dev/null || true
	@$(RUN) -m coverage report --fail-under=85

lint: $(INSTALLED) ## ruff, mypy, sqlfluff
	@$(RUN) -m ruff check . && $(RUN) -m ruff format --check . && $(RUN) -m mypy && \
	  $(RUN) -m sqlfluff lint dbt_project/models

format: $(INSTALLED) ## let ruff put the code in order
	@$(RUN) -m ruff check --fix . ; $(RUN) -m ruff format .

bench-clickhouse: $(INSTALLED) ## inserts and concurrent reads against clickhouse-connect's in-process backend
	@$(RUN) -m stack.bench.clickhouse

bench-demo: $(INSTALLED) ## time and memory of the demo, twice, in a home of its own; DATA=path
	@$(RUN) -m orchestration.bench.demo $(if $(DATA),--data "$(DATA)")

bench-recovery: $(INSTALLED) ## kill -9 every service, idle and during the job; promotion by hand under load
	@$(RUN) -m orchestration.bench.recovery $(if $(DATA),--data "$(DATA)")

bench-data: $(INSTALLED) ## sessions, features and training set of a 100M-event day against their targets; EVENTS=n, QUICK=1
	@$(RUN) -m orchestration.bench.data $(if $(QUICK),--quick) $(if $(EVENTS),--events $(EVENTS))

bench-models: $(INSTALLED) ## models and gate against their targets and peers; DATA=path/to/KuaiRand-Pure, ONLY=svd|kuairand|throughput|gate
	@$(RUN) -m ml.bench $(if $(DATA),--data "$(DATA)") $(if $(ONLY),--only $(ONLY))

bench-serving: $(INSTALLED) ## the endpoint under load against its targets and a bare peer; ONLY=feed|million|swap|chaos|soak|quality, QUICK=1
	@$(RUN) -m serving.bench $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))

clean: ## remove the environment and build output (not the state: see reset)
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache
