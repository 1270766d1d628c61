# `make demo` and `make test` are all a new user needs: each sets up its own .venv when that is missing or stale.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Two processes share the machine's cores; more threads than cores slow every test down.
TEST_WORKERS ?= 2

.PHONY: help demo test test-all lint lint-web bench docs clean
.DEFAULT_GOAL := help

help:
	@echo "make demo      photos to a trained model and a report, in demo/"
	@echo "make test      the tests (under 8 minutes on 2 cores)"
	@echo "make test-all  the slow tests too"
	@echo "make lint      ruff and mypy"
	@echo "make lint-web  types of the pages' scripts (needs npm)"
	@echo "make docs      the documentation as a site, in build/site"
	@echo "make bench     speed measurements (seams.py and half_precision.py in benchmarks/ need trained weights)"

# A venv made before a change of the dependencies is stale; `make clean` removes it for any other reason.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/goldeye demo -o demo

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --durations=10

# These need no more than a core each, and no port or memory of their own: two at a time.
SIDE_BY_SIDE := tests/degrade tests/train tests/test_reproduction.py tests/test_recipes_edl_rgan.py

test-all: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n $(TEST_WORKERS) --dist loadfile --durations=10 $(SIDE_BY_SIDE)
	$(BIN)/python -m pytest -m slow --durations=10 $(SIDE_BY_SIDE:%=--ignore=%)

lint: $(STAMP)
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

lint-web:
	npm exec --yes --package=typescript@5.9.3 -- tsc -p jsconfig.json

bench: $(STAMP)
	for name in negative_term degradation upscale selection annotate training metrics loading; do $(BIN)/python benchmarks/$$name.py || exit 1; done

$(VENV)/.docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

# The switch silences an advertisement of mkdocs-material.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "build/site/index.html (the search needs a server: $(BIN)/python -m http.server -d build/site)"

clean:
	rm -rf $(VENV) demo build/site
