# The commands of the book. A fresh machine needs Python 3.11 or newer, and make.

PYTHON ?= python3
PORT   ?= 8000

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := book

# uv trusts what the machine trusts, a proxy among it.
export UV_SYSTEM_CERTS := true

BIN       := .venv/bin
INSTALLED := .venv/.installed
HTML      := _build/html
PIP       := $(BIN)/python -m pip -qq --disable-pip-version-check

# A page with a warning would pass the second time, as it would not be read again: hence the removal.
BUILD = @$(BIN)/jupyter-book build . -q --warningiserror --keep-going --nitpick $(1) || \
          { rm -rf _build/.doctrees; exit 1; }

# Two workers, one file or notebook each at a time; the longest are first.
WORKERS ?= 2
PYTEST   = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -q

.PHONY: book test check types lowest fresh lint wheel execute serve repository bench lock clean help

book: $(INSTALLED)  ## build the HTML from the stored outputs and print where it is
	$(call BUILD)
	@$(MAKE) --no-print-directory wheel
	@echo "The book is at $(CURDIR)/$(HTML)/index.html"

test: $(INSTALLED) lint  ## lint, build with warnings as errors, then every test: units, notebooks, browser, live, install
	$(call BUILD,--all)
	@$(MAKE) --no-print-directory wheel
	$(PYTEST) --nbval -rs --timeout=900 --durations=20 $(OPTIONS)

check: $(INSTALLED) lint types  ## lint, types and the unit tests, without what is slow: before each commit
	$(PYTEST) -rs --timeout=120 -m "not browser and not live and not install" tests $(OPTIONS)

types: $(INSTALLED)  ## mypy, strict; pyproject.toml lists the rooms of course_lib that are not clean yet
	$(BIN)/python -m mypy

lowest: $(INSTALLED)  ## the unit tests on the lower bounds of pyproject.toml, in an environment of their own
	@$(PIP) install uv
	@mkdir -p _build && $(BIN)/uv venv -q --clear --python $(BIN)/python _build/lowest
	$(BIN)/uv pip compile -q --resolution lowest-direct --all-extras --no-header --python _build/lowest/bin/python \
	  pyproject.toml -o _build/lowest/requirements.txt
	$(BIN)/uv pip install -q --python _build/lowest/bin/python -r _build/lowest/requirements.txt
	$(BIN)/uv pip install -q --python _build/lowest/bin/python --no-deps --no-build-isolation -e .
	OMP_NUM_THREADS=1 _build/lowest/bin/python -m pytest -n $(WORKERS) --dist loadfile -q -rs --timeout=300 \
	  -m "not browser and not live and not install" tests $(OPTIONS)

fresh:  ## every test in an empty clone with an empty home: what a machine has by chance does not help
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && git clone -q . "$$folder/book" && mkdir "$$folder/home" && \
	  env -i PATH="$$PATH" HOME="$$folder/home" LANG=C.UTF-8 CI=true $(MAKE) -C "$$folder/book" PYTHON="$(PYTHON)" test

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

# The notebooks' first cell installs course_lib from here in Colab: `pip --find-links` reads the list.
wheel: $(INSTALLED)
	@rm -rf $(HTML)/wheels
	@$(PIP) wheel --no-deps --no-build-isolation --wheel-dir $(HTML)/wheels .
	@cd $(HTML)/wheels && for file in *.whl; do echo "<a href=\"$$file\">$$file</a>"; done > index.html

execute: $(INSTALLED)  ## run the notebooks (NOTEBOOKS="book/a.ipynb …", else all) and store their outputs
	@$(BIN)/python -m tools.notebooks execute $(NOTEBOOKS)

serve: book  ## build the book and serve it on this machine only (PORT=8000)
	$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory $(HTML)

repository: $(INSTALLED)  ## set the repository in _config.yml and in all notebooks: URL=https://github.com/OWNER/REPO
	@$(BIN)/python -m tools.notebooks repository "$(URL)"

bench: $(INSTALLED)  ## measure, and write benchmarks/results.md
	@$(BIN)/python -m benchmarks

lock: $(INSTALLED)  ## resolve pyproject.toml anew into requirements.lock
	@$(PIP) install uv
	{ head -n 1 requirements.lock; $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	  --all-extras --no-header --no-annotate pyproject.toml; } > requirements.lock.part
	mv requirements.lock.part requirements.lock

clean:  ## remove what was built; the installed .venv stays
	rm -rf _build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

help:  ## this list
	@sed -nE 's/^([a-z]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

EXACTLY := -r requirements.lock

# uv installs in a fifth of the time; where it finds no index, pip, which knows a machine's mirrors, does it.
# Made anew only when what is to be installed has changed. The stamp comes last, so an installation that was
# cut short is taken up again.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "The book needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true)." \
	       "Name another: make PYTHON=python3.13" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv; the first time takes minutes, as torch is large."
	@{ $(PIP) install uv && $(BIN)/uv pip install -q --python $(BIN)/python $(EXACTLY); } || $(PIP) install $(EXACTLY)
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@
