# Twinloop. Needs Python 3.11, make and git; everything else is installed by the targets that use it.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
RUN := .venv/bin/python
PACKAGES := $(notdir $(wildcard libs/* services/*)) local

.PHONY: help install lint test format proto clean

help:  ## What can be made
	@grep -hE '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/'

install:  ## Install what lint and tests need
	@$(PYTHON) deploy/local/bootstrap.py dev triton kafka

lint: install  ## Check style, types and the rules of imports
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy $(addprefix -p twinloop.,$(PACKAGES))
	.venv/bin/lint-imports

test: install  ## Run the tests
	$(RUN) -m pytest

format:  ## Bring the sources into form
	.venv/bin/ruff check --fix . ; .venv/bin/ruff format .

proto:  ## Generate the Protobuf modules
	PATH=.venv/bin:$$PATH $(RUN) -m grpc_tools.protoc -I libs/contracts --python_out=libs/contracts --mypy_out=libs/contracts twinloop/contracts/telemetry.proto
	PATH=.venv/bin:$$PATH $(RUN) -m grpc_tools.protoc -I libs/sparkplug --python_out=libs/sparkplug --mypy_out=libs/sparkplug twinloop/sparkplug/sparkplug.proto

clean:  ## Remove what was made here; the cache folder stays
	rm -rf .venv .twinloop .mypy_cache .ruff_cache .pytest_cache .hypothesis
