# Twinloop. Needs Python 3.11, make and git; everything else is installed by the targets that use it.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
RUN := .venv/bin/python
MYPY_PACKAGES := -p twinloop.contracts -p twinloop.features -p twinloop.runtime -p twinloop.sparkplug -p twinloop.tritonio -p twinloop.controller -p twinloop.historian -p twinloop.ingest -p twinloop.simulator -p twinloop.local
TESTS :=  libs/contracts/tests libs/features/tests libs/runtime/tests libs/sparkplug/tests services/controller/tests services/historian/tests services/simulator/tests deploy/local/tests tests/integration/test_local_parts.py tests/integration/test_runtime_kafka.py --deselect libs/features/tests/test_features_windows.py::test_a_buffer_rebuilt_from_the_oldest_frame_needed_goes_on_as_if_nothing_had_happened

.PHONY: help install lint test format proto clean

help:  ## What can be made
	@grep -hE '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/'

install:  ## Install what lint and tests need
	@$(PYTHON) deploy/local/bootstrap.py dev triton kafka

lint: install  ## Check style, types and the rules of imports
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy $(MYPY_PACKAGES)
	.venv/bin/lint-imports

test: install  ## Run the tests
	$(RUN) -m pytest $(TESTS)

format:  ## Bring the sources into form
	.venv/bin/ruff check --fix . ; .venv/bin/ruff format .

proto:  ## Generate the Protobuf modules
	PATH=.venv/bin:$$PATH $(RUN) -m grpc_tools.protoc -I libs/contracts --python_out=libs/contracts --mypy_out=libs/contracts twinloop/contracts/telemetry.proto
	PATH=.venv/bin:$$PATH $(RUN) -m grpc_tools.protoc -I libs/sparkplug --python_out=libs/sparkplug --mypy_out=libs/sparkplug twinloop/sparkplug/sparkplug.proto

clean:  ## Remove what was made here; the cache folder stays
	rm -rf .venv .twinloop .mypy_cache .ruff_cache .pytest_cache .hypothesis
