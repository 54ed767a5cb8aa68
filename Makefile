# `make demo` and `make test` set up what they need; nothing has to be run before them.
#
#   PYTHON   the Python to build on; by default the first of 3.11, 3.12, 3.13 that is there
#   TORCH    pip arguments that install torch first. Where the index offers a CPU build under this
#            version it is taken; elsewhere give another, for instance
#            make test TORCH="torch --index-url https://download.pytorch.org/whl/cpu"
#   AXOLOTL  the Axolotl that `make test` runs with
#   JOBS     test processes; each uses one thread
#   ARGS     further arguments for pytest, `ppx demo` or the benchmarks

PYTHON  := $(or $(PYTHON),$(shell for p in python3.11 python3.12 python3.13 python3 python; do \
             $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
             && { echo $$p; break; }; done))
TORCH   ?= torch==2.13.0
AXOLOTL ?= axolotl>=0.19,<0.20
JOBS    ?= 2
ARGS    ?=
OUT     ?= out/demo

NEXT_PYTHON  ?= python3.12
NEXT_AXOLOTL ?= axolotl>=0.21

PIP_QUIET := -q --disable-pip-version-check
OFFLINE   := HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 AXOLOTL_DO_NOT_TRACK=1 DO_NOT_TRACK=1 \
             TOKENIZERS_PARALLELISM=false
PYTEST    := $(OFFLINE) OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n $(JOBS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-wheel test-trl test-axolotl-next lint format types contracts \
        bench wheel ci clean

help: ## say what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1 \t/' | expand -t 22

demo: .venv-trl/.done ## train the embedded model with and without the mask, and compare
	$(OFFLINE) .venv-trl/bin/ppx demo --out $(OUT) $(ARGS)

test: .venv/.done ## all tests, beside Axolotl 0.19 and its TRL
	$(PYTEST) $(ARGS)

setup: .venv/.done ## only the set-up of `make test`

# ------------------------------------------------------------------------------- environments

# $(call environment,FOLDER,PYTHON,WHAT): a virtual environment with torch, then WHAT.
define environment
	@test -n "$(2)" || { echo "No Python >= 3.11 found; name one: make PYTHON=/path/to/python"; exit 1; }
	test -x $(1)/bin/python || $(2) -m venv $(1)
	$(1)/bin/python -m pip install $(PIP_QUIET) $(TORCH)
	$(1)/bin/python -m pip install $(PIP_QUIET) $(3)
endef

.venv/.done: pyproject.toml
	$(call environment,.venv,$(PYTHON),"$(AXOLOTL)" -e ".[axolotl$(comma)dev]")
	@touch $@

.venv-trl/.done: pyproject.toml
	$(call environment,.venv-trl,$(PYTHON),-e ".[test]")
	@touch $@

comma := ,

# ------------------------------------------------------------------------------------ checks

lint: .venv/.done ## ruff: rules and format
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

format: .venv/.done ## let ruff mend and format
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

types: .venv/.done ## mypy --strict
	.venv/bin/mypy

contracts: .venv/.done ## import-linter: the one-way rule
	PYTHONPATH=.:plugins .venv/bin/lint-imports

bench: .venv/.done ## speed and memory, with goals
	$(OFFLINE) .venv/bin/python -m tests.benchmarks $(ARGS)

# --------------------------------------------------------------------------- other set-ups

wheel: .venv/.done ## build the wheel into dist/
	rm -rf dist
	.venv/bin/python -m build --wheel

# The wheel, as a user gets it: its own environment with the newest TRL, and tests that run in a
# folder where the checkout cannot be imported.
test-wheel: wheel ## core, method and TRL tests from the built wheel beside the newest TRL
	rm -rf .venv-wheel
	$(call environment,.venv-wheel,$(PYTHON),"$$(ls dist/*.whl)[test]")
	mkdir .venv-wheel/run
	cp -r tests pyproject.toml .venv-wheel/run/
	cd .venv-wheel/run && ../bin/python -c 'import ppx_ext, sys; \
	  assert ppx_ext.__file__.startswith(sys.prefix), ppx_ext.__file__; print(ppx_ext.__file__)'
	cd .venv-wheel/run && PPX_DATA="$${PPX_DATA:-$(abspath ../shared/data)}" $(OFFLINE) \
	  OMP_NUM_THREADS=1 ../bin/python -m pytest -n $(JOBS) --dist loadfile \
	  -m "not axolotl and not checkout" tests/core tests/plugins tests/hosts $(ARGS)

test-trl: .venv-trl/.done ## the tests beside the newest TRL, from the checkout
	$(OFFLINE) OMP_NUM_THREADS=1 .venv-trl/bin/python -m pytest -n $(JOBS) --dist loadfile \
	  -m "not axolotl" $(ARGS)

# Axolotl 0.20 and later need Python 3.12. Skipped, loudly, where that Python or a torch of
# moderate size is not to be had; FORCE=1 takes any torch.
test-axolotl-next: ## the host tests beside Axolotl 0.21, where that can be had
	@set -e; \
	if ! $(NEXT_PYTHON) -c '' 2>/dev/null; then \
	  echo "SKIPPED: no $(NEXT_PYTHON) here; name one: make test-axolotl-next NEXT_PYTHON=..."; exit 0; fi; \
	rm -rf .venv-next; $(NEXT_PYTHON) -m venv .venv-next; \
	if [ -z "$(FORCE)" ] && ! .venv-next/bin/pip install --dry-run --no-deps $(TORCH) 2>/dev/null \
	  | grep -q '+cpu'; then \
	  echo "SKIPPED: no CPU build of $(TORCH) for $(NEXT_PYTHON); FORCE=1 installs what there is"; exit 0; fi; \
	.venv-next/bin/pip install $(PIP_QUIET) $(TORCH); \
	.venv-next/bin/pip install $(PIP_QUIET) "$(NEXT_AXOLOTL)" -e ".[axolotl,test]"; \
	$(OFFLINE) OMP_NUM_THREADS=1 .venv-next/bin/python -m pytest -n $(JOBS) --dist loadfile tests/hosts $(ARGS)

ci: ## what runs for every submission
	.ci/run

clean: ## remove environments and builds
	rm -rf .venv .venv-trl .venv-wheel .venv-next dist out
