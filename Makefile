# `make help` prints what there is. Everything runs from .venv, made from the lock file.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install gateway receiver test lint fix demo schema initial bench bench-quality bench-right bench-never-wrong e2e record lock screenshots npm clean

help: ## print this
	@grep -E '^[a-z0-9-]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(STAMP): requirements/dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv; this takes some minutes the first time"
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps -e .
	@touch $(STAMP)

install: $(STAMP) ## make .venv from the lock file

PORT ?= 8700
demo: $(STAMP) ## a made-up shop, this app and a mailbox on this machine; prints the URLs
	$(BIN)/saleor-personalize demo --port $(PORT)

# Apollo's composition and gateway, for the tests of federation. Without Node they are skipped, and say so.
GATEWAY := examples/federation/node_modules/.package-lock.json
$(GATEWAY): examples/federation/package-lock.json
	-@command -v npm >/dev/null && cd examples/federation && npm ci --silent --ignore-scripts --no-audit --no-fund

# TypeScript, for the test of examples/react-native; without it that test is skipped, and says so.
RECEIVER := examples/react-native/node_modules/.package-lock.json
$(RECEIVER): examples/react-native/package-lock.json
	-@command -v npm >/dev/null && cd examples/react-native && npm ci --silent --ignore-scripts --no-audit --no-fund

receiver: $(RECEIVER) ## fetch what examples/react-native is checked with (needs Node)

gateway: $(GATEWAY) ## fetch what examples/federation needs (needs Node)

# Threads that learn wait for each other by turning; where processes outnumber processors, that is most of what they do.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

# In the order that tests/conftest.py gives them, the longest first (tests/acceptance); by default the files with few tests are last.
# They mostly wait, as a shopper would: two workers more than processors work meanwhile.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(os.cpu_count() + 2)')
test: lint $(STAMP) $(GATEWAY) $(RECEIVER) ## the whole suite, nothing else to install
	$(ONE_THREAD) $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 25

lint: $(STAMP) ## style, types, architecture, migrations, schema
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python manage.py makemigrations --check --dry-run
	DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python manage.py personalize_schema | diff -u saleor_personalize/graphql/schema.graphql -
	DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python manage.py personalize_schema --federation | diff -u saleor_personalize/graphql/subgraph.graphql -

fix: $(STAMP) ## format and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: $(STAMP) ## write graphql/schema.graphql and graphql/subgraph.graphql anew
	DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python manage.py personalize_schema > saleor_personalize/graphql/schema.graphql
	DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python manage.py personalize_schema --federation > saleor_personalize/graphql/subgraph.graphql

initial: $(STAMP) ## write the first migration anew (until the first release)
	rm saleor_personalize/migrations/0001_initial.py
	mv saleor_personalize/migrations/0002_event_partitions.py saleor_personalize/migrations/0002_event_partitions.aside
	-DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python manage.py makemigrations saleor_personalize -n initial
	mv saleor_personalize/migrations/0002_event_partitions.aside saleor_personalize/migrations/0002_event_partitions.py

bench: $(STAMP) ## ratios against peers, in one run (needs Node for the webhook peer)
	$(BIN)/python -m benchmarks

DATA ?= data
bench-quality: $(STAMP) ## the recommenders beside peers on real shops: make bench-quality DATA=folder
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/bench.txt
	$(ONE_THREAD) $(BIN)/python -m benchmarks.quality $(DATA)

bench-right: $(STAMP) ## 100,000 random questions to the recommendations, in about 20 minutes: nothing wrong may be shown
	RIGHT_PRODUCTS_CALLS=100000 $(BIN)/pytest tests/integration/test_right_products.py -q --timeout 0

STORIES ?= 10000
bench-never-wrong: $(STAMP) ## 10,000 random stories of a shop: no message is wrong, none goes twice, none is lost
	NEVER_WRONG_STORIES=$(STORIES) $(BIN)/pytest tests/integration/test_never_wrong_by_chance.py -q -n 2 --timeout 0

e2e: $(STAMP) $(GATEWAY) ## drive a live Saleor: make e2e SALEOR_API_URL=http://127.0.0.1:8000/graphql/
	@test -n "$(SALEOR_API_URL)" || { echo "Say which Saleor: make e2e SALEOR_API_URL=http://..../graphql/"; exit 2; }
	SALEOR_API_URL=$(SALEOR_API_URL) $(BIN)/pytest -m live tests/live

record: $(STAMP) ## write the webhooks of a live Saleor to tests/payloads (see tests/live/README.md)
	SALEOR_API_URL=$(SALEOR_API_URL) $(BIN)/python -m tests.live.record

screenshots: $(STAMP) ## take the README's pictures while `make demo` is up
	$(BIN)/python docs/screenshots.py

NPM_OUT ?= build
npm: ## pack packages/storefront for npm into build/ (needs Node)
	mkdir -p $(NPM_OUT)
	rm -rf $(NPM_OUT)/storefront && cp -rL packages/storefront $(NPM_OUT)/storefront
	cd $(NPM_OUT) && npm pack --silent ./storefront

lock: $(STAMP) ## resolve the lock files anew from pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" pyproject.toml --extra service -o requirements/service.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" pyproject.toml --extra service --extra testing --group dev -o requirements/dev.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" pyproject.toml --extra service --extra testing --group dev --group bench -o requirements/bench.txt

clean: ## remove .venv and what the demo left
	rm -rf .venv var
