# Every target makes what it needs: a virtual environment in .venv, the browser-less parts by pip, the rest by apt-get
# where that is allowed. `make help` lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest
ALONE := not kafka and not browser
NO_SERVERS := --ignore=tests/integration --ignore=tests/browser

# Workers and the processes that tests start need not compile the same modules again and again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test quick nightly check lab notebooks bench faults clean

help: ## list what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

$(READY): pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "ktframe needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || sh tests/support/ensure.sh python3-venv "Python's venv module"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@

demo: $(READY) ## a tour on the embedded broker and sample data; no Kafka needed, ends by itself
	$(BIN)/python -m ktframe

test: servers ## every test, on a real Kafka broker and in a real browser (Java 17, Maven and Chromium)
	$(PYTEST) -n 3 --dist worksteal $(NO_SERVERS) -m '$(ALONE)' --cov --cov-report= --cov-fail-under=0
	$(PYTEST) -n 3 --dist loadgroup -m kafka --cov --cov-append --cov-report= --cov-fail-under=0
	$(PYTEST) -n 2 --dist loadgroup -m browser tests/browser --cov --cov-append --cov-report=term

nightly: servers ## every test, with twenty times as many examples of each property
	$(PYTEST) -n 3 --dist worksteal $(NO_SERVERS) -m '$(ALONE)' --hypothesis-profile=nightly --timeout=7200
	$(PYTEST) -n 3 --dist loadgroup -m kafka --hypothesis-profile=nightly --timeout=7200
	$(PYTEST) -n 2 --dist loadgroup -m browser tests/browser

.PHONY: brokers servers
brokers: $(READY)
	@sh tests/support/ensure.sh java "a Java 17 runtime" openjdk-17-jre-headless
	@sh tests/support/ensure.sh mvn "Maven" maven

servers: brokers
	@command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
		|| sh tests/support/ensure.sh chromium "Chromium"

quick: $(READY) ## what needs only pip, in under a minute; for contributors, never the judge
	$(PYTEST) -n 4 --dist worksteal $(NO_SERVERS) -m '$(ALONE) and not slow' --hypothesis-profile=quick -q -rfE

check: $(READY) ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

lab: $(READY) ## JupyterLab on the notebooks
	$(BIN)/python -m pip install --quiet --editable '.[notebook]'
	$(BIN)/jupyter lab notebooks

notebooks: $(READY) ## run the notebooks again, in place
	$(BIN)/python tests/support/run_notebooks.py

bench: brokers ## ktframe beside its peers, each installed in .bench/; writes benchmarks/RESULTS.md and history.csv
	$(BIN)/python benchmarks/load.py
	$(BIN)/python benchmarks/reads.py
	$(BIN)/python benchmarks/latency.py
	$(BIN)/python benchmarks/refresh.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/windows.py
	$(BIN)/python benchmarks/avro.py
	$(BIN)/python benchmarks/protobuf.py

faults: servers ## rounds of faults on real Kafka, every read compared with an oracle; writes the figures of docs/faults.md
	PYTHONPATH=tests $(BIN)/python -m faults

clean: ## remove the environment and caches
	rm -rf $(VENV) .bench .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
