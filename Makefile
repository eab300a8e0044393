# All targets need only python3 (3.11 or newer, with venv and pip) and make; everything else is installed into
# .venv, once, and again only when pyproject.toml changes.

PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python
ANYWHERE := tests/test_docs.py tests/test_readme.py tests/train/test_many.py tests/compiler/test_tiles.py
PIP    := -m pip install -qq --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz processors targets check docs format bench browser references clean
.DELETE_ON_ERROR:

help:
	@echo "make demo        train the two-moons net and save its picture as moons.png"
	@echo "make test        run the tests"
	@echo "make fuzz        random programs and training runs against plain ones, a minute each (MINUTES=…, SEED=…)"
	@echo "make processors  the pages and some tests, with native code as for processors with SSE2 and with AVX-512"
	@echo "make targets     exported C on gcc, clang, tcc, musl, ARM, RISC-V and AVR; installs them by apt-get if it may"
	@echo "make check       ruff, ruff format, mypy --strict, the direction of the imports"
	@echo "make docs        run the examples of the site and write it into out/site"
	@echo "make format      let ruff format and mend the code"
	@echo "make bench       install the peers, run the benchmarks, write docs/benchmarks.md (large downloads)"
	@echo "make browser     try the playground in Chromium (needs node, npm and chromium)"
	@echo "make references  regenerate the reference files of the tests with PyTorch and scikit-learn (large downloads)"
	@echo "make clean       remove the environments and the leftovers of tools"

demo: $(VENV)/.plot-installed
	$(VENV)/bin/macrograd train moons --plot moons.png

test: $(VENV)/.dev-installed
	$(RUN) -m pytest -n 2

fuzz: $(VENV)/.dev-installed
	$(RUN) -m tests.fuzz --minutes $(or $(MINUTES),1) $(if $(SEED),--seed $(SEED))
	$(RUN) -m tests.fuzz.training --minutes $(or $(MINUTES),1) $(if $(SEED),--seed $(SEED))

processors: $(VENV)/.dev-installed
	for each in sse2 avx512; do $(RUN) -m pytest -n 2 --processor $$each $(ANYWHERE) || exit 1; done

targets: $(VENV)/.dev-installed
	$(RUN) -m tests.targets --install

check: $(VENV)/.dev-installed
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m mypy
	$(RUN) -m pytest tests/test_architecture.py

browser: $(VENV)/.dev-installed $(VENV)/browser/.installed
	cd $(VENV)/browser && ../../$(RUN) ../../tests/browser/check.py

docs: $(VENV)/.docs-installed
	rm -rf out/site
	$(RUN) -m sphinx -qW -b html docs out/site
	@echo "The site is out/site/index.html"

format: $(VENV)/.dev-installed
	$(RUN) -m ruff check --fix
	$(RUN) -m ruff format

bench: $(VENV)/.peers-installed
	$(RUN) -m benchmarks

references: $(VENV)-references/.installed
	$(VENV)-references/bin/python references/make.py

clean:
	rm -rf $(VENV) $(VENV)-references build dist out docs/notebooks .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp file says that a step was finished, so that one that was broken off is done again.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("macrograd needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] + ": try make PYTHON=python3.12")'
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.%-installed: pyproject.toml $(VENV)/.created
	@echo "Installing macrograd[$*] into $(VENV): a minute the first time"
	@$(RUN) $(PIP) --editable ".[$*]"
	@touch $@

# The packages with tables come without what they ask for: one wants a NumPy and a pandas that it does not need.
$(VENV)/.peers-installed: benchmarks/requirements.txt benchmarks/requirements-sets.txt $(VENV)/.bench-installed
	@echo "Installing benchmarks/requirements.txt into $(VENV): some minutes the first time"
	@$(RUN) $(PIP) --requirement benchmarks/requirements.txt
	@$(RUN) $(PIP) --no-deps --requirement benchmarks/requirements-sets.txt
	@touch $@

$(VENV)/browser/.installed: $(VENV)/.created
	@mkdir -p $(@D)
	@npm install --silent --no-audit --no-fund --prefix $(@D) playwright-core@1.65.1
	@touch $@

$(VENV)-references/.installed: references/requirements.txt
	@echo "Installing references/requirements.txt into $(VENV)-references: some minutes the first time"
	@$(PYTHON) -m venv --clear $(VENV)-references
	@$(VENV)-references/bin/python $(PIP) --requirement references/requirements.txt
	@touch $@
