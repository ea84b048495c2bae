# What people and CI run. No target needs an environment variable.

# `make bitstream SHELL=finn_iodma` names the shell around the accelerator; make needs its own SHELL all the same.
ifeq ($(origin SHELL),command line)
ifeq ($(findstring /,$(SHELL)),)
AROUND := $(SHELL)
override SHELL := /bin/sh
endif
endif
PYTHON := $(shell command -v python3.11 || command -v python3)
VENV   := .venv
STAMP  := $(VENV)/installed
.PHONY: help install demo demo-cnn bitstream docker-build results accuracy test board-check docker-check formal lint check bench fuzz clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Create .venv and install what the lock names
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(v < (3, 11) and f"cxrflow needs Python 3.11 or newer, found {v[0]}.{v[1]}: install python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q $$(grep '^torch==' requirements.lock)
	$(VENV)/bin/pip install -q --no-deps -r requirements.lock
	$(VENV)/bin/pip install -q --no-deps --no-build-isolation -e .
	@touch $@

# The driver is tested against the real pynq, which wants an older numpy: an environment of its own.
$(VENV)-pynq/installed: requirements-pynq.lock $(STAMP)
	$(PYTHON) -m venv $(VENV)-pynq
	$(VENV)-pynq/bin/pip install -q --no-deps -r requirements-pynq.lock
	@touch $@

# A deploy folder must run with nothing but the oldest numpy and Pillow that the driver supports.
OLD_PYTHON := $(shell python3.10 -c 'import sys; print(sys.executable)' 2>/dev/null)
$(VENV)-oldest/installed: $(STAMP)
	$(or $(OLD_PYTHON),$(PYTHON)) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/pip install -q $(if $(OLD_PYTHON),numpy==1.21.6 pillow==9.0.0,numpy==1.23.2 pillow==9.3.0)
	@touch $@

demo: $(STAMP) ## The main job on synthetic X-rays: train, export, compile to RTL, simulate, compare
	$(VENV)/bin/cxrflow run experiments/w8a8.yaml --name demo

demo-cnn: $(STAMP) ## The same with convolutions: 64 x 64 pixels, trained for some epochs without a float start
	$(VENV)/bin/cxrflow run experiments/cnn-w4a4.yaml --name demo-cnn --set train.init_from= --set train.epochs=12 \
		--set train.lr=5e-3

bitstream: $(STAMP) ## BOARD=zcu104 SHELL=axi_dma|finn_iodma EXPERIMENT=FILE; without Vivado, everything up to it
	$(VENV)/bin/cxrflow bitstream $(strip $(or $(EXPERIMENT),experiments/w8a8.yaml --name demo) $(if $(BOARD),--board $(BOARD)) $(if $(AROUND),--shell $(AROUND)))

results: $(STAMP) ## The README's table, from the run folders
	@$(VENV)/bin/cxrflow results

SEEDED := teacher w1a1-start w1a1 w1a1-long-start w1a1-long w1a1-small w2a2 w4a4 w8a8 w8a8-large \
	three-float three-w8a8 three-w2a2 three-w1a1-start three-w1a1 cnn-w4a4 cnn-w2a2 cnn-w1a2
accuracy: $(STAMP) ## Train every experiment with five seeds on DATA=folder, and print the README's table of it
	@test -e "$(DATA)" || { echo "give the X-rays: make accuracy DATA=path/to/chest_xray"; exit 1; }
	for name in $(SEEDED); do $(VENV)/bin/cxrflow train experiments/$$name.yaml --data $(DATA) --seeds 5 || exit 1; done
	@$(VENV)/bin/cxrflow results --seeds

# Without kept bytecode, hundreds of processes would compile our code again, and each that collects tests all of those.
# Some tests wait, for clusters, servers and their own time limits: one process more than there are processors.
WORKERS = $(shell $(PYTHON) -c 'import os; print(os.cpu_count() + 1)')
test: $(STAMP) $(VENV)-pynq/installed $(VENV)-oldest/installed ## Every test, slow ones included
	PYTHONDONTWRITEBYTECODE= $(VENV)/bin/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

board-check: $(STAMP) $(VENV)-pynq/installed ## A deploy folder, the page, pynq and C on emulated ARM processors; minutes
	$(VENV)/bin/pytest -s tests/board/test_on_arm.py tests/board/everything.py

docker-check: $(STAMP) ## The image of FINN's own shell, built with buildah from a stand-in base, and run; root, 14 GB
	$(VENV)/bin/python -m tests.container.alone

formal: $(STAMP) ## The proofs about our RTL alone
	$(VENV)/bin/pytest tests/rtl/test_formal.py

lint: $(STAMP) ## ruff, mypy, imports, and Verilator with each module as its own top, for several sets of parameters
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/pytest tests/rtl/test_lint.py

bench: $(STAMP) ## Interval against FINN's estimate, CPU reference against its peers, training steps; after `make demo`
	$(VENV)/bin/python -m benchmarks.interval runs/demo
	$(VENV)/bin/python -m benchmarks.reference
	$(VENV)/bin/python -m benchmarks.training $(DATA)

FUZZ := $(patsubst tests/%.py,tests.%,$(wildcard tests/fuzz_*.py))
fuzz: $(STAMP) ## Ten thousand hostile inputs to every reader of files, and as many requests to the server; what fails is kept
	@failed=0; for part in $(FUZZ); do echo "== $$part"; $(VENV)/bin/python -m $$part 10000 || failed=1; done; exit $$failed

docker-build: ## The image for FINN's own shell; needs docker, podman or buildah, docs/docker.md
	docker/build.sh

check: lint test ## Everything that needs no vendor tool; the tests include the proofs

clean: ## Remove what the targets above made, run folders excepted
	rm -rf $(VENV) $(VENV)-pynq $(VENV)-oldest build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
