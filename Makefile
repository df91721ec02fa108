# Two commands do everything: `make demo` and `make test`. Each prepares .venv first, once.

PYTHON ?= $(shell command -v python3.12 >/dev/null 2>&1 && python3.12 --version >/dev/null 2>&1 && echo python3.12 || echo python3)
BIN := .venv/bin
PICTURES ?=

# Some tests wait, for a server or a process that was killed: one more than cores keeps those busy.
TESTERS ?= $(shell $(PYTHON) -c "import os; print(min(5, (os.cpu_count() or 1) + 1))")

# Tests start many processes: without bytecode on disk each would compile everything again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo test check format bench docs wheel audit clean

setup: .venv/ready

# Versions are pinned in requirements.lock; torch's own dependencies follow its wheel (CPU or GPU).
.venv/ready: requirements.lock requirements-peers.lock pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12) and 'vitral needs Python 3.11 or 3.12: make PYTHON=python3.12')"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-peers.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch .venv/ready

# Train, evaluate and predict on real pictures: bundled digits, or `make demo PICTURES=folder`.
demo: setup
	$(BIN)/python -m vitral.demo $(if $(PICTURES),"$(PICTURES)")

# Everything that must hold: format, lint, types, import layers, tests.
test: check

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -n $(TESTERS) --dist worksteal

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Side-by-side timings against timm and transformers; see bench/README.md.
bench: setup
	$(BIN)/python -m bench.models
	$(BIN)/python -m bench.input

# The documentation, dist/site/index.html; a warning or a broken link is an error.
docs: setup
	$(BIN)/python -m mkdocs build --quiet --strict

# The same bytes each time: dist/vitral-VERSION-py3-none-any.whl.
wheel: setup
	$(BIN)/python -m hatchling build --target wheel --directory dist

# A list of all parts, dist/sbom.json, and known vulnerabilities of the pinned versions (asks the public database).
# pip-audit ends with 0 (none known), 1 (some are), or is ended after AUDIT_SECONDS; the list is there in any case.
AUDIT_SECONDS ?= 600
audit: .venv/audit/ready
	mkdir -p dist
	.venv/audit/bin/cyclonedx-py requirements requirements.lock --output-reproducible --output-format JSON --output-file dist/sbom.json
	@echo "dist/sbom.json lists all parts; asking pypi.org about each of them"
	@.venv/audit/bin/python -c "import urllib.request as r; r.urlopen('https://pypi.org/pypi/pip/json', timeout=20).close()" 2>/dev/null || { echo "nothing was looked up: pypi.org, which knows the vulnerabilities, cannot be reached from here"; exit 69; }
	@.venv/audit/bin/python -c "import subprocess, sys; sys.exit(subprocess.run(sys.argv[2:], timeout=float(sys.argv[1])).returncode)" $(AUDIT_SECONDS) .venv/audit/bin/pip-audit --progress-spinner off --disable-pip --no-deps --requirement requirements.lock 2>dist/audit.log && echo "none of the pinned versions has a known vulnerability" || { code=$$?; grep "^Found" dist/audit.log || echo "not all parts could be looked up within $(AUDIT_SECONDS) s: dist/audit.log says why"; exit $$code; }

.venv/audit/ready: .venv/ready
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1 cyclonedx-bom==7.5.0
	touch .venv/audit/ready

clean:
	rm -rf .venv runs demo dist
