# The same verbs that CI and the README use. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0
CODE := reeltag exporters gateway vod edge benchmarks deploy docs loadtests model_repository tests
DEMO := out/demo

.DEFAULT_GOAL := help
.PHONY: help demo test check bench loadtest up lock clean format stubs

help: ## List the verbs
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(BIN)/.serve ## Tag a real street video and leave its page in out/demo, to be seen from its index.html
	@mkdir -p $(DEMO)
	@$(BIN)/python -m exporters.catalogue.packages demo-video $(DEMO)/video
	@$(BIN)/reeltag tag $(DEMO)/video/bikes.mp4 --out $(DEMO) --force
	@find $(DEMO) -name bikes.mp4.tags.json -exec $(BIN)/reeltag show {} +
	@echo "Open $(DEMO)/index.html in a browser to look at it."

test: $(BIN)/.dev ## Run all tests (real Triton, real models, real media)
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)

check: $(BIN)/.dev ## Style, types and import rules
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(BIN)/.dev ## Format the code
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

stubs: $(BIN)/.dev ## The Python code of the gRPC interface, from reeltag/v1/*.proto
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python -m grpc_tools.protoc -I. --python_out=. --mypy_out=quiet:. --grpc_python_out=. --mypy_grpc_out=quiet:. reeltag/v1/tagging.proto reeltag/v1/jobs.proto

bench: $(BIN)/.dev ## Throughput and memory, as ratios in one run (about 5 minutes)
	$(BIN)/python -m benchmarks.throughput

loadtest: $(BIN)/.dev ## Two minutes of load on a server of its own; the page is out/loadtest/index.html
	$(BIN)/python -m benchmarks.media out/loadtest/pictures
	$(BIN)/python -m loadtests --load ramp --peak-users 64 --seconds 120 --max-p99-ms 30000 --kind RestSingle --kind RestForm --kind GrpcUnary --kind GrpcStream

up: ## The service in a container (needs Docker with compose)
	docker compose --profile cpu up --build

lock: $(BIN)/.dev ## Make the lock files anew from pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(COMPILE) --extra serve -o requirements/serve.lock
	$(COMPILE) --extra dev -c requirements/serve.lock -o requirements/dev.lock

# For the oldest Python that is supported: what it takes, the newer ones take too.
COMPILE := $(BIN)/uv pip compile pyproject.toml --upgrade --python-version 3.10 \
  --python-platform x86_64-manylinux_2_35 --no-emit-index-url --no-annotate --no-header --quiet

clean: ## Remove what was generated, not the virtual environment
	rm -rf out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	git clean -fdXq model_repository

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' || \
	  { echo "reeltag needs Python 3.10, 3.11 or 3.12, not $$($(PYTHON) --version): make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(BIN)/.serve: requirements/serve.lock pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/serve.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@$(BIN)/python -c 'from reeltag.embedded import find; find()' 2>/dev/null || sh deploy/libpython.sh $(BIN)/python
	@touch $@

# torch is not in the lock: its CPU build and its CUDA build need different packages.
$(BIN)/.dev: requirements/dev.lock $(BIN)/.serve
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/dev.lock $(TORCH)
	@touch $@
