# Everything a developer or a first-time user types. Needs make and a Python 3.12 or newer, which `setup` finds by itself.
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run test chaos bench lint fmt types check lock

# The checks import the settings, which want secrets; they open no database.
CHECKING = SECRET_KEY=only-for-checks NEXUS_ENCRYPTION_KEYS= DATABASE_URL=postgres://nobody@/none \
	DJANGO_SETTINGS_MODULE=nexus.settings.test

# The suite runs in two processes, each with servers of its own; with servers that are given by URL, in one. What a
# process has compiled, rewritten assertions included, is there for the next: the suite starts hundreds.
TEST_PROCESSES ?= $(if $(DATABASE_URL)$(REDIS_URL),0,2)

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1  /p' Makefile | awk '{ name = $$1; $$1 = ""; printf "  make %-10s%s\n", name, $$0 }'

setup: ## make .venv from requirements.txt; nothing to do when it is up to date
	@scripts/setup requirements.txt

setup-dev: ## the same with the tools for tests and checks
	@scripts/setup requirements-dev.txt

run: setup ## everything on http://127.0.0.1:8000 until Ctrl-C; ARGS="--port 9000 --no-demo"
	@exec .venv/bin/python manage.py up $(ARGS)

test: setup-dev ## the whole suite with branch coverage, on servers and a browser of its own; ARGS="-k circuit"
	@browser=$$(scripts/browser) && \
		PYTHONDONTWRITEBYTECODE= BROWSER_PATH="$$browser" exec .venv/bin/python -m pytest -n $(TEST_PROCESSES) \
			--cov --cov-report=term $(ARGS)

chaos: setup-dev ## the long outages under load, figures to reports/; ARGS="-k postgres"
	@exec .venv/bin/python -m pytest -m chaos $(ARGS)

bench: setup ## measure beside nginx, into bench/results; BENCH_ARGS="--scen n16 --rounds 1", BENCH_PEERS=1, BENCH_FULL=1
	@BENCH_ARGS='$(BENCH_ARGS)' scripts/bench-tools && exec .venv/bin/python -m bench $(BENCH_ARGS)

lint: setup-dev ## style, layers between the apps, missing migrations
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports
	@$(CHECKING) .venv/bin/python -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run

fmt: setup-dev ## format, and fix what can be fixed
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

types: setup-dev ## the type checker over the tree
	$(CHECKING) .venv/bin/mypy .

check: lint types test ## what CI runs

lock: setup-dev ## resolve requirements*.in into requirements*.txt, with hashes; ARGS=--upgrade
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check uv
	.venv/bin/uv pip compile --quiet --no-strip-extras --universal --python-version 3.12 --generate-hashes $(ARGS) \
		requirements.in -o requirements.txt
	.venv/bin/uv pip compile --quiet --no-strip-extras --universal --python-version 3.12 --generate-hashes $(ARGS) \
		-c requirements.txt requirements-dev.in -o requirements-dev.txt
