# Everything a fresh machine needs: Python 3.11 or newer, and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

N ?= 500
SEED ?= 1

.PHONY: demo test oracle zoo fuzz gpu-bench check docs wheel clean

demo: $(READY)  ## export, diagnose, repair and bench the bundled model; ends in one table
	$(BIN)/onnxfix demo

test: $(READY)  ## all tests: two files at a time, then those that take times one by one
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not alone"
	$(BIN)/python -m pytest -q -m alone

oracle: $(READY)  ## placement of 700 random graphs, and kernels of 12,000 attentions, against the real runtime; needs cc
	ONNXFIX_ORACLE=full $(BIN)/python -m pytest -q tests/diagnose/placement/test_oracle.py
	PYTHONPATH=tests:tools:tests/diagnose/kernels $(BIN)/python tests/diagnose/kernels/test_against_the_runtime.py 12000 1

zoo: $(READY)  ## 81 exports of 27 architectures: forecast against the real runtime, copies before and after repair; an hour
	$(BIN)/python tests/zoo/table.py

check: $(READY)  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory types

.PHONY: types
types: $(READY) build/typing
	MYPYPATH=build/typing $(BIN)/mypy -p onnxfix
	MYPYPATH=build/typing:tools:tests:tests/diagnose/placement $(BIN)/mypy tools tests/oracle tests/zoo tests/fuzz tests/corpus
	MYPYPATH=build/typing:tools:tests:tests/diagnose/kernels $(BIN)/mypy tests/diagnose/kernels

# mypy looks packages up on disk, where surgery/ and its sisters are not below onnxfix/: show it a tree where they are.
build/typing: $(wildcard onnxfix/*) Makefile
	rm -rf $@ && mkdir -p $@/onnxfix
	ln -s $(CURDIR)/onnxfix/* $@/onnxfix/
	ln -s $(CURDIR)/surgery $(CURDIR)/diagnose $(CURDIR)/export $(CURDIR)/eval $@/onnxfix/
	touch $@

fuzz: $(READY)  ## broken models through diagnose, and repair of some: N=20000 SEED=1; an hour for 20,000
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m fuzz.campaign -n $(N) --seed $(SEED)

.PHONY: corpus
corpus: $(READY)  ## the onnx package's 1,884 node cases through diagnose and repair, results held against the expected ones
	OMP_NUM_THREADS=1 $(BIN)/python tests/corpus/table.py

gpu-bench: $(READY)  ## on a CUDA machine: ModernBERT-large and the bundled model, every variant, into docs/results
	$(BIN)/python benchmarks/gpu_bench.py

docs: $(READY)  ## docs/rules.md and docs/passes.md from docstrings, docs/attention-kernels.md from conditions
	$(BIN)/python tools/documentation.py docs

.PHONY: site
site: $(READY)  ## the documentation as pages in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

wheel: $(READY)
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all,openvino,dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info onnxfix-demo
