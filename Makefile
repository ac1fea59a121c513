# Every target creates .venv if it is missing; pyproject.toml lists what is installed there.
# PYTHON=/path/to/python uses that interpreter as it is and installs nothing.

DEVICE ?= cpu
N ?= auto
OPS ?=
SHARD ?=
TORCH ?= 2.13.0

ifdef PYTHON
  PY := $(PYTHON)
  READY :=
else
  PY := .venv/bin/python
  READY := .venv/ready
endif

SELECT := --device '$(DEVICE)' $(foreach glob,$(OPS),--ops '$(glob)')

.PHONY: sweep accept record report test bench lint venv clean

sweep: $(READY)   ## call every overload and compare with results/
	$(PY) -m pytest -q -n $(N) $(SELECT) $(if $(SHARD),--shard '$(SHARD)') sweep/

accept: $(READY)  ## the same, and replace what results/ says by what is found
	EXPECTTEST_ACCEPT=1 $(PY) -m pytest -q -n $(N) $(SELECT) sweep/

record: $(READY)  ## record the corpus anew
	$(PY) -m sweep record --device '$(DEVICE)'

report: $(READY)  ## write what results/ says, and the last run found, to .sweep/report.html
	$(PY) -m sweep page

test: $(READY)    ## the tests of the harness itself, doctests included
	$(PY) -m pytest -q -n $(N) tests/

bench: $(READY)   ## measure the sweep against torch's own crossrefs and the bare loop
	$(PY) -m tests.bench

lint: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

venv: $(READY)

.venv/ready: pyproject.toml
	python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "python3 is older than 3.11: make PYTHON=/path/to/python")'
	python3 -m venv .venv
	.venv/bin/python -m pip install -q torch==$(TORCH)
	.venv/bin/python -m pip install -q -e '.[dev]'
	touch $@

clean:
	rm -rf .venv .sweep build dist *.egg-info .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
