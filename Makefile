# The one menu. `make help` lists it.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
KERNELS := $(wildcard services/inference/weir_inference/adapters/engines/torch/native/*.h services/inference/weir_inference/adapters/engines/torch/native/*.cpp)
PACKAGES := $(addprefix libs/,contracts kit client cli) $(addprefix services/,gateway tokenizer inference policy billing)

.DEFAULT_GOAL := help
.PHONY: help setup up demo test check fmt protos bench-engine bench-models

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## install everything into .venv

# hatchling goes first, so that nine editable packages need no build environment each.
$(READY): constraints.txt pyproject.toml $(addsuffix /pyproject.toml,$(PACKAGES)) $(KERNELS)
	@echo "Setting up .venv (a minute or three the first time) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt pip hatchling editables
	@$(BIN)/python -m pip install -q --no-build-isolation -c constraints.txt --group dev $(addprefix -e ,$(PACKAGES))
	@touch $@

up: $(READY) ## start the whole platform here and stream one answer; Ctrl-C stops it (ARGS="--processes …")
	@$(BIN)/weir up $(ARGS)

demo: $(READY) ## one request end to end: text, usage, cost, ledger, findings and trace (ARGS="--json")
	@$(BIN)/weir demo $(ARGS)

test: $(READY) ## run every test
	@$(BIN)/python -m pytest $(ARGS)

check: $(READY) ## format, lint, types, import contracts, buf, generated code up to date
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd protos && ../$(BIN)/buf lint
	cd protos && ../$(BIN)/buf breaking --against '../.git#branch=main,subdir=protos'
	$(BIN)/python libs/contracts/generate.py --check

fmt: $(READY) ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	cd protos && ../$(BIN)/buf format -w

protos: $(READY) ## generate libs/contracts from protos/
	$(BIN)/python libs/contracts/generate.py

bench-engine: $(READY) ## the torch engine beside its peers (MODEL= PEERS= BATCHES= ROUNDS= ONLY= SCALE= ARGS=)
	@PYTHONPATH=tests/performance$${PYTHONPATH:+:$$PYTHONPATH} $(BIN)/python -m engine \
		$(if $(MODEL),--models $(MODEL)) $(if $(PEERS),--peers $(PEERS)) $(if $(BATCHES),--batches $(BATCHES)) \
		$(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ONLY),--only $(ONLY)) $(if $(SCALE),--scale $(SCALE)) $(ARGS)

bench-models: $(READY) ## an ONNX model over gRPC beside bare onnxruntime, MLServer and KServe (ARGS=)
	@cd tests/performance && PYTHONPATH=. ../../$(BIN)/python -m models $(ARGS)
