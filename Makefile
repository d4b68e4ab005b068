# The two commands of the README, and the parts they are made of.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c

PYTHON ?= python3
VENV ?= .venv
DOCS_VENV ?= .venv-docs
# An extra place to look for wheels; it only saves the minutes that compiling mmcv takes.
WHEELS ?= ../shared/wheels
FIND_LINKS := $(if $(wildcard $(WHEELS)),--find-links $(abspath $(WHEELS)),)

BIN := $(abspath $(VENV))/bin
# Warnings about link folders that a machine's pip settings name but that are not there help nobody; errors stay.
PIP := $(BIN)/python -m pip install --no-input --disable-pip-version-check --retries 10 --timeout 60 -q \
	2> >(grep -v "^WARNING: Location .* is ignored" >&2)
MMCV_BUILD := CFLAGS="-DNDEBUG -g0 -O1 -w" MAX_JOBS=$$(nproc)
# An environment is ready for exactly these requirements, whatever the files' dates.
READY := $(VENV)/.mmprune-ready-$(shell cat requirements/*.txt | sha256sum | cut -c1-16)
QUICKSTART := work_dirs/quickstart
# What is linted and formatted; configs are linted only, their dicts are laid out by hand.
CODE := mmprune tools tests docs setup.py

# These commands run this checkout's code, also where several checkouts share an environment.
export PYTHONPATH := $(CURDIR)

.PHONY: quickstart test test-fast soak deps env lint format readme docs clean

quickstart: env
	$(BIN)/python tools/train.py configs/quickstart/resnet_digits.py --work-dir $(QUICKSTART)/dense
	$(BIN)/python tools/train.py configs/quickstart/resnet_digits_pruned.py --work-dir $(QUICKSTART)/pruned
	@echo
	@echo "table    above, and in $(QUICKSTART)/pruned/*/*.log"
	@echo "report   $(QUICKSTART)/pruned/report.json"
	@echo "picture  $(QUICKSTART)/pruned/report.png"
	@echo "page     $(QUICKSTART)/pruned/report.html"
	@echo "network  $(QUICKSTART)/pruned/finetuned.pth"

test: env
	$(BIN)/python -m pytest -q tests

test-fast: env
	$(BIN)/python -m pytest -q -m "not slow" tests

soak: env
	$(BIN)/python tools/dev/soak.py
	$(BIN)/python -m tools.benchmarks.memory

deps: $(READY)

env: deps
	@cd / && env -u PYTHONPATH $(BIN)/python -c \
	  "import importlib.util as u, sys; sys.exit(u.find_spec('mmprune') is None)" \
	  || { cd $(CURDIR) && $(PIP) --no-deps --no-build-isolation -e .; }

$(READY):
	@echo ">> setting up $(VENV) (about 8 GB; 2 minutes with a ready mmcv wheel, 6 without)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements/torch.txt
	$(PIP) -r requirements/build.txt
	$(MMCV_BUILD) $(PIP) --no-build-isolation --no-cache-dir $(FIND_LINKS) -r requirements/mmcv.txt
	$(PIP) -r requirements/runtime.txt -r requirements/optional.txt -r requirements/tests.txt
	@touch $@

lint: env
	$(BIN)/ruff check $(CODE) configs
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/python tools/dev/check_architecture.py

format: env
	$(BIN)/ruff check --fix $(CODE) configs
	$(BIN)/ruff format $(CODE)

readme: env
	$(BIN)/python tools/results/make_readme.py
	$(BIN)/python tools/results/make_metafiles.py

# The documentation as a site, in an environment of its own: it is read, not imported.
docs: $(DOCS_VENV)/.ready-$(shell sha256sum docs/requirements.txt | cut -c1-16)
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict --quiet
	$(DOCS_VENV)/bin/python tools/dev/check_site.py site

$(DOCS_VENV)/.ready-%:
	test -x $(DOCS_VENV)/bin/python || $(PYTHON) -m venv $(DOCS_VENV)
	$(abspath $(DOCS_VENV))/bin/python -m pip install --no-input --disable-pip-version-check -q -r docs/requirements.txt
	@touch $@

clean:
	rm -rf .venv .venv-docs site work_dirs .pytest_cache .ruff_cache .mypy_cache
