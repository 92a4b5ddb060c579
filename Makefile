# `make` alone explains the commands.  `demo` and `test` need only Python, pip and make.

PYTHON  ?= python3
WORKERS ?= 2
VENV    := .venv
BIN     := $(VENV)/bin
LIBP2P  := .bench/libp2p
MITMPROXY := .bench/mitmproxy

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench system-deps clean

help:
	@echo 'tunnelkit: what make can do'
	@echo
	@echo '  make demo          run the whole system on this machine: a call is intercepted, a broker'
	@echo '                     is killed in mid-download, nothing is lost (half a minute);'
	@echo '                     ARGS="--over wss-proxy": in TLS through a proxy'
	@echo '  make test          check style and types, run all tests; ends with the list of what was'
	@echo '                     skipped for want of a program, and how to get it'
	@echo '  make lint          only the style and type checks of `make test`'
	@echo '  make bench         measure everything: speed beside other tunnels, carriers, memory, ...'
	@echo '                     (an hour and a half; ARGS=--quick: 2 minutes; ARGS=--list)'
	@echo '  make system-deps   install the Debian programs that some tests and the benchmarks run'
	@echo '  make clean         remove .venv and everything that was built'
	@echo
	@echo '  PYTHON=python3.13 make test     use another Python (3.11 or newer)'
	@echo '  WORKERS=0 make test             run the tests in one process'
	@echo '  make test ARGS="-k broker -x"   hand options to pytest'
	@echo '  make bench SCENARIOS=carriers   only these benchmarks; ARGS are their options'
	@echo
	@echo 'Python packages go to .venv, made once and brought up to date when setup.cfg changes.'

demo: $(VENV)/.installed-demo
	$(BIN)/python examples/demo.py $(ARGS)

test: lint
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A peer that cannot be installed is skipped and named: the rest is measured.
bench: $(VENV)/.installed-bench
	-@$(MAKE) --no-print-directory --keep-going $(LIBP2P)/.installed $(MITMPROXY)/.installed
ifeq ($(strip $(SCENARIOS)),)
	@$(BIN)/python -m benchmarks $(ARGS)
else
	@failed=0; for name in $(SCENARIOS); do \
		$(BIN)/python -m benchmarks $$name $(ARGS) || failed=$$?; \
		[ $$failed -lt 128 ] || break; done; exit $$failed
endif

system-deps:
	@bash .ci/system-deps
	@bash .ci/haproxy3

clean:
	rm -rf $(VENV) .bench build dist *.egg-info .hypothesis .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps say which extra is installed, and are stale once the list of dependencies changes.
$(VENV)/.installed-%: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

# Peers of the benchmarks, each with all that it brings.
$(LIBP2P)/.installed: Makefile | $(BIN)/python
	rm -rf $(LIBP2P)
	$(BIN)/python -m venv $(LIBP2P)
	$(LIBP2P)/bin/python -m pip install --quiet --disable-pip-version-check libp2p==0.8.1
	@touch $@

# Which version is the newest depends on the Python; the results name it.
$(MITMPROXY)/.installed: Makefile | $(BIN)/python
	rm -rf $(MITMPROXY)
	$(BIN)/python -m venv $(MITMPROXY)
	$(MITMPROXY)/bin/python -m pip install --quiet --disable-pip-version-check 'mitmproxy>=11'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'error: $(PYTHON) is missing or older than 3.11: try PYTHON=python3.13 make ...' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo 'error: cannot make $(VENV); on Debian: apt-get install python3-venv' >&2; exit 1; }
