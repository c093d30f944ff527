# Every target sets itself up: it makes .venv and installs requirements.txt where they are missing.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
ARGS   ?=

export TOKENIZERS_PARALLELISM ?= true

# Not reproduce-... and study-...: make tries no pattern rule for what is phony.
.PHONY: help setup bench demo demo-e2e demo-family demo-data test lint data plan smoke tune \
        params methods tables figures report clean

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 20

setup: $(VENV)/.installed ## make .venv and install the pinned packages

$(VENV)/.installed: requirements.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) \
	  else "error: Python %d.%d found, 3.11 to 3.13 needed; use make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --disable-pip-version-check -q --no-compile $(PIP_ARGS) -r requirements.txt
	@$(PY) -m compileall -qq -j 0 $(VENV)/lib || true # on every core; pip would take one
	touch $@
	@echo "made: $(VENV), with the packages of requirements.txt"; echo "next: make demo"

demo: demo-data ## Table 1 in miniature, offline, 2 minutes: results/demo/table1.md
	$(PY) scripts/reproduce.py demo $(ARGS)

demo-e2e: data ## the same on E2E's data and its whole test set, 25 minutes: results/demo-e2e
	$(PY) scripts/reproduce.py demo-e2e $(ARGS)

demo-family: demo-data ## every method in miniature, offline: results/demo/family.md
	$(PY) scripts/reproduce.py demo-family $(ARGS)

demo-data: setup
	$(PY) scripts/prepare_data.py demo

test: setup lint ## ruff and all tests
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist worksteal $(ARGS)

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

data: setup ## download the E2E files into data/e2e (or check E2E_DATA_DIR)
	$(PY) scripts/prepare_data.py e2e

plan: setup ## what is missing: steps, hours on this machine, disk; ARGS=table2 for one table
	$(PY) scripts/plan.py $(ARGS)

reproduce-all: ## Tables 1 to 6; or reproduce-table1 ... 6, -extra; ARGS="seed=1,2 model.path=DIR"
reproduce-webnlg: setup ## WebNLG 2017 instead of E2E (WEBNLG_DATA_DIR): results/tables/webnlg.md
	$(PY) scripts/reproduce.py webnlg $(ARGS)

reproduce-family: ## every method on GPT-2 S: results/tables/family.md, results/figures/family_bleu.png
reproduce-%: data
	$(PY) scripts/reproduce.py $* $(ARGS)

smoke: setup ## all 37 rows in miniature, to see that they run: results/smoke
	OMP_NUM_THREADS=1 $(PY) scripts/smoke.py $(ARGS)

study-standin12: ## a whole study: rates, runs, scores; study-gpt2_s asks the questions of real GPT-2
study-%: data
	$(PY) scripts/study.py write $*
	$(PY) scripts/study.py run data/study/$*/study.json $(ARGS)
	$(PY) scripts/study.py score $*

tune: setup ## learning rates compared by validation loss; ARGS="experiment=table1/solo_s"
	$(PY) scripts/tune.py $(ARGS)

params: setup ## count every row's parameters: results/tables/params.md
	$(PY) scripts/params.py

methods: setup ## write the pages on the methods from their classes, and test them: docs
	$(PY) scripts/methods.py
	$(PY) scripts/architectures.py

tables: setup ## fill all tables from the runs that exist; ARGS=table2 for one
	$(PY) scripts/tables.py $(ARGS)

figures: setup ## draw loss, lambda and BLEU over parameters: results/figures
	$(PY) scripts/figures.py $(ARGS)

report: setup ## pages of everything to look at, sort and read: results/report/index.html
	$(PY) scripts/report.py $(ARGS)

bench: setup ## speed and memory here, in 10 to 16 minutes: results/bench; ARGS="--lora-nlg DIR"
	$(PY) scripts/bench/main.py $(ARGS)

clean: ## remove caches and .venv, never results
	rm -rf $(VENV) .pytest_cache .ruff_cache
