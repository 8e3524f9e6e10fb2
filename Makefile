# Every command works in a fresh clone, and can be repeated. Stamp files record what was
# done, so that a second `make run` has nothing to install.

VENV := .venv
PYTHON := $(VENV)/bin/python
STAMPS := $(VENV)/stamps
NPM_CI := npm ci --no-audit --no-fund --loglevel=error

PAGE_SOURCES := $(shell find frontend -type f -not -path '*/node_modules/*' -not -path 'frontend/tests/*' 2>/dev/null)
# The settings of tests and linters: the defaults, without anyone's .env.
CLEAN_ENV := LLMCHAT_ENV_FILE= DJANGO_DEBUG=1
# Let pytest's workers and the PostgreSQL run reuse the bytecode that the first compiles.
unexport PYTHONDONTWRITEBYTECODE
# Twice the cores of a small machine, because many tests wait for servers.
PYTEST_WORKERS ?= 4
PYTEST := --numprocesses $(PYTEST_WORKERS) --dist loadfile --no-loadscope-reorder \
	--durations 10 $(PYTEST_ARGS)
STRESS := $(addprefix tests/product/,test_postgres_stress.py test_durability.py \
	test_outages.py test_outages_postgresql.py test_relay_outages.py \
	test_two_workers_sockets.py test_two_workers_cancel.py test_floods.py)
BALANCED := $(patsubst %,tests/realtime/test_%.py,suites suites_heartbeat \
	suites_timeouts interop http polling websocket upgrade namespaces recovery requests \
	turns prepared gaps) \
	$(patsubst %,tests/api/%_live.py,test_namespace test_attach test_conversations \
	test_rest openai/test_sdks test_connecting) \
	$(patsubst %,tests/product/test_%.py,streams rest refusals origins isolation \
	attach_at_random guide guide_react integration_pages schema providers \
	providers_cancel page_chat page_sidebar page_states page_account) \
	tests/docs/test_scripts.py tests/docs/test_key_scripts.py tests/serving/test_mount.py
# The size of `make jitter`'s four runs.
JITTER ?= --clients 50 --seconds 30
COVERAGE := $(PYTHON) -m coverage
# `make update UPGRADE=` keeps the pinned versions and resolves only what is new.
UPGRADE ?= --upgrade
COMPILE = $(VENV)/bin/uv pip compile --quiet --no-progress $(UPGRADE)

.DEFAULT_GOAL := help
.PHONY: help install run serve test coverage lint update fuzz stress jitter balanced bench tools page dev

help: ## Show the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(STAMPS)/requirements .env ## Set everything up, and write .env if there is none

run: install page ## Install what is missing, migrate, create the account demo, serve with debug on
	@DJANGO_DEBUG=1 $(PYTHON) manage.py create_demo --migrate
	@DJANGO_DEBUG=1 exec $(PYTHON) -m serving

serve: install page ## Serve as in production: debug off, static files collected
	@DJANGO_DEBUG=0 $(PYTHON) manage.py migrate --verbosity 0
	@DJANGO_DEBUG=0 $(PYTHON) manage.py collectstatic --noinput --verbosity 0
	@DJANGO_DEBUG=0 exec $(PYTHON) -m serving

test: dev page tests/js/node_modules/.stamp ## Run all tests, or the part T=tests/realtime
	@scripts/install_chromium
	@cd frontend && npm run --silent test -- --silent --reporter=dot
	@$(PYTHON) -m pytest $(PYTEST) $(T)
	@echo "Once more on PostgreSQL: what is stored"
	@$(PYTHON) -m tests.postgres -q $(PYTEST) $(T)

# Measuring coverage takes two thirds more CPU time.
coverage: dev page tests/js/node_modules/.stamp ## Run all tests and print the coverage
	@scripts/install_chromium
	@$(COVERAGE) erase
	@$(COVERAGE) run -m pytest $(PYTEST)
	@echo "Once more on PostgreSQL: what is stored"
	@$(COVERAGE) run -m tests.postgres -q $(PYTEST)
	@$(COVERAGE) combine --quiet
	@$(COVERAGE) report

lint: dev frontend/node_modules/.stamp ## Check style, types and the API's description
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check --quiet .
	@$(CLEAN_ENV) $(VENV)/bin/mypy
	@$(CLEAN_ENV) $(PYTHON) manage.py spectacular --validate --fail-on-warn --file /dev/null
	@cd frontend && npm run --silent check

update: dev ## Pin the newest versions of requirements*.in, with hashes
	@$(COMPILE) requirements.in -o requirements.txt
	@$(COMPILE) requirements-dev.in -c requirements.txt -o requirements-dev.txt
	@$(COMPILE) --no-deps requirements-local.in -o requirements-local.txt
	@$(COMPILE) requirements-uv.in -o requirements-uv.txt
	@$(COMPILE) benchmarks/peers/litellm/requirements.in -o benchmarks/peers/litellm/requirements.txt

fuzz: dev ## Fuzz the protocol for a long time
	@$(PYTHON) -m tests.fuzz

# The same tests as in `make test`, but longer.
stress: dev page tests/js/node_modules/.stamp ## Assert the promised times: under load, in floods and in long outages
	@LLMCHAT_TEST_STRESS_ROUNDS=10 LLMCHAT_TEST_STRESS_S=15 LLMCHAT_TEST_OUTAGE_S=20 \
		$(PYTHON) -m pytest --capture no $(PYTEST_ARGS) $(STRESS)

jitter: dev page tests/js/node_modules/.stamp ## Reset clients' connections, kill and restart workers, stop Redis
	@$(PYTHON) -m tests.jitter $(JITTER) --reset-every 15
	@$(PYTHON) -m tests.jitter $(JITTER) --reset-every 30 --kill-every 6
	@$(PYTHON) -m tests.jitter $(JITTER) --reset-every 30 --restart-every 8 --drain 5
	@$(PYTHON) -m tests.jitter $(JITTER) --reset-every 30 --redis-down-every 5

# The same tests as in `make test`, which runs them against one worker or server. Three
# servers take longer to start, hence the timeout.
balanced: dev page tests/js/node_modules/.stamp ## Run the client tests against three workers behind a load balancer
	@scripts/install_chromium
	@LLMCHAT_TEST_WORKERS=3 $(PYTHON) -m pytest --numprocesses $(PYTEST_WORKERS) \
		--dist loadfile --timeout 400 $(PYTEST_ARGS) $(BALANCED)

bench: dev page ## Measure the server and its peers
	@$(PYTHON) -m benchmarks

# --- What the commands are made of -----------------------------------------------

tools:
	@scripts/require_tools

$(STAMPS)/requirements: requirements.txt requirements-local.txt requirements-uv.txt | tools
	@scripts/install_python requirements.txt requirements-local.txt
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/requirements-dev: requirements-dev.txt requirements-sdk-2025.txt $(STAMPS)/requirements
	@scripts/install_python requirements-dev.txt requirements-sdk-2025.txt
	@mkdir -p $(STAMPS) && touch $@

dev: $(STAMPS)/requirements-dev

.env: | $(STAMPS)/requirements
	@$(PYTHON) scripts/write_env.py

frontend/node_modules/.stamp: frontend/package.json frontend/package-lock.json | tools
	@echo "Installing the page's npm packages"
	@cd frontend && $(NPM_CI)
	@touch $@

tests/js/node_modules/.stamp: tests/js/package.json tests/js/package-lock.json | tools
	@echo "Installing the tests' npm packages"
	@cd tests/js && $(NPM_CI)
	@touch $@

page: frontend/node_modules/.page

frontend/node_modules/.page: frontend/node_modules/.stamp $(PAGE_SOURCES)
	@echo "Building the page"
	@cd frontend && npm run --silent build -- --logLevel warn
	@touch $@
