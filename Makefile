# Few targets: each does its own set-up, so a fresh machine needs only Python 3.11 and make.
PYTHON ?= python3.11
# The exact version keeps pip on the build it finds first (a CPU wheel where one is offered).
TORCH ?= torch==2.13.0
BIN := .venv/bin
# Once for all processes; otherwise the first evaluation takes 20 seconds more.
COMPILE := $(BIN)/python -c "import evaluator.inference.resampling, evaluator.metrics.kernel"

.PHONY: demo test test-fast test-gpu gpu check docs bench lock triton triton-gpu nnunet keras clean

demo: .venv/demo.done  ## the whole journey, from phantoms to a leaderboard
	$(BIN)/busbench demo --out demo $(ARGS)

PYTEST := $(BIN)/python -m pytest -n 2

# What needs a Docker engine, chromium or pdflatex (Debian's texlive-latex-recommended) skips without.
test: .venv/dev.done check  ## everything, container tests included: up to 40 minutes
	$(PYTEST) $(ARGS)

FAST := not (browser or docker or gpu or latex or real_data or slow or slurm or triton)
test-fast: .venv/dev.done  ## what needs no engine, no real data and no browser: three to five minutes
	$(PYTEST) -q -m "$(FAST)" $(ARGS)

test-gpu: .venv/dev.done  ## the tests that need a GPU, in under four minutes; fails where none works
	$(BIN)/python -m benchmarks.gpu_checks tests --pytest "$(ARGS)"

gpu: .venv/dev.done  ## all that is checked on a GPU, in order of worth: ten minutes at most
	$(BIN)/python -m benchmarks.gpu_checks

check: .venv/dev.done docs  ## lint, types, the walls between the components, the documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

docs: .venv/dev.done  ## the documentation as a site, into build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: .venv/dev.done triton  ## speed beside other tools, into benchmarks/results.md
	BUSBENCH_TRITONSERVER=$(TRITON) $(BIN)/python -m benchmarks

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/demo.done: .venv/bin/python pyproject.toml
	$(BIN)/pip install --quiet "$(TORCH)" --editable ".[evaluator,models]"
	$(COMPILE)
	touch $@

.venv/dev.done: .venv/bin/python pyproject.toml
	$(BIN)/pip install --quiet "$(TORCH)" --editable ".[evaluator,triton,models,cluster,dev]"
	$(COMPILE)
	touch $@

# Where tests look too, so that it is installed once.
TRITON ?= $(HOME)/.cache/busbench/triton
triton: $(TRITON)/bin/tritonserver  ## a Triton server without an image registry
	@echo "export BUSBENCH_TRITONSERVER=$(TRITON)"

$(TRITON)/bin/tritonserver: containers/triton/install.sh containers/triton/model.py \
		containers/locks/triton-server.txt
	PYTHON=$(PYTHON) sh containers/triton/install.sh $(TRITON)

triton-gpu: $(TRITON)-gpu/bin/tritonserver  ## the same for a GPU, with 2 GB of CUDA
	@echo "export BUSBENCH_TRITONSERVER=$(TRITON)-gpu"

$(TRITON)-gpu/bin/tritonserver: containers/triton/install.sh containers/triton/model.py \
		containers/locks/triton-server-gpu.txt
	PYTHON=$(PYTHON) sh containers/triton/install.sh --gpu $(TRITON)-gpu

# nnU-Net, which the tests of `busbench export-split` load its export in. It finds what PYTHON has,
# torch above all, and is apart because it brings a torchvision that fits another torch.
nnunet: build/nnunet/done
	@echo build/nnunet/bin/python

build/nnunet/done:
	$(PYTHON) -m venv --clear build/nnunet
	$(PYTHON) -c "import site; print(site.getsitepackages()[0])" > \
		"$$(echo build/nnunet/lib/python3*/site-packages)/dev.pth"
	build/nnunet/bin/python -m pip install --quiet "$(TORCH)" "nnunetv2>=2.8,<2.9"
	touch $@

# Keras on TensorFlow, in which the tests of `busbench new-submission --like keras` train; see above.
keras: build/keras/done
	@echo build/keras/bin/python

build/keras/done: submission_template/keras/requirements.txt
	$(PYTHON) -m venv --clear build/keras
	$(PYTHON) -c "import site; print(site.getsitepackages()[0])" > \
		"$$(echo build/keras/lib/python3*/site-packages)/dev.pth"
	build/keras/bin/python -m pip install --quiet --requirement submission_template/keras/requirements.txt
	touch $@

clean:  ## remove what the other targets made
	rm -rf .venv demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache

lock: .venv/bin/python  ## choose the images' exact versions anew
	$(BIN)/python containers/locks.py
