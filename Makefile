# Twinloop. Needs Python 3.11, make and git; everything else is installed by the targets that use it.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
RUN := .venv/bin/python
TRAIN := .venv-train/bin/python
SCENARIO ?= window-drift
WORKERS ?= 2
BESIDE := $(if $(filter-out 0,$(WORKERS)),-n $(WORKERS) --dist loadscope --no-loadscope-reorder)
PACKAGES := $(notdir $(wildcard libs/* services/*)) local

.PHONY: help demo replay up down ps logs open alerts query weld certs test fault fault-models mutants bench bench-loop bench-capacity test-unit test-helm helm-refresh test-k8s test-containers images sbom compose-demo engine-down lint format install install-dev install-train test-train eval bench-field docs dashboards proto audit lock clean

help:  ## What can be made
	@grep -hE '^[a-z0-9-]+:.*##' Makefile | sed -E 's/:[^#]*##/\t/' | expand -t 17

# ---- run it

demo: install  ## Play a scenario on the whole loop and judge it: SCENARIO=window-drift|defocus|gap|healthy|plc-refuses|line-off|field
	@$(RUN) -m twinloop.local.demo --scenario $(SCENARIO) $(if $(VEHICLES),--vehicles $(VEHICLES)) $(if $(KEEP),--keep)

replay: install $(if $(filter pca,$(ARCHITECTURE)),,install-train)  ## Train on recorded data, send it through the same path and score it: DATA=<folder of SKAB CSV files>, ARCHITECTURE=pca to do without torch
	@$(RUN) -m twinloop.local.replay --data "$(or $(DATA),$(error name the folder with SKAB CSV files: make replay DATA=...))" $(if $(ARCHITECTURE),--architecture $(ARCHITECTURE))

up: install  ## Start everything and leave it running: SECURE=1 with TLS, users and ACLs, PROMETHEUS=1 with Prometheus and the alerts
	@$(if $(PROMETHEUS),$(PYTHON) deploy/local/bootstrap.py prometheus)
	@$(if $(SECURE),TWINLOOP_SECURE=$(SECURE) )$(if $(PROMETHEUS),TWINLOOP_WITH=prometheus )$(RUN) -m twinloop.local up

down:  ## Stop everything
	@test ! -x $(RUN) || $(RUN) -m twinloop.local down

ps: install  ## What runs, and where
	@$(RUN) -m twinloop.local ps

logs: install  ## The newest lines of every log: SERVICE=<name> for one of them, FOLLOW=1 to go on
	@$(RUN) -m twinloop.local logs $(SERVICE) $(if $(FOLLOW),--follow)

open: install  ## Where to look: topics, Parquet files, health and metrics
	@$(RUN) -m twinloop.local open

alerts: install  ## What the Prometheus of `make up PROMETHEUS=1` alerts of
	@$(RUN) -m twinloop.local alerts

query: install  ## Ask that Prometheus: Q='<PromQL>'
	@$(RUN) -m twinloop.local query '$(or $(Q),$(error say what to ask: make query Q=up))'

weld: install  ## Let the plant of `make up` weld: WELDS=<parts> RATE=<a second> FAULT=window-drift|defocus|gap SEED=<n> WAIT=1
	@$(RUN) -m twinloop.local weld $(if $(WELDS),--welds $(WELDS)) $(if $(RATE),--rate $(RATE)) $(if $(FAULT),--fault $(FAULT)) $(if $(SEED),--seed $(SEED)) $(if $(WAIT),--wait)

certs: install  ## Make keys, certificates and people for one machine, and keep those that are there: INTO=.certs
	@$(RUN) -m twinloop.local.keys.certs --into $(or $(INTO),.certs)

# ---- containers

images:  ## Build every container image, and hold each to its size: IMAGES="detector twin" for some, TAG=<version>
	@deploy/docker/build.sh $(IMAGES)

compose-demo:  ## Play a scenario of the demo on containers and judge it: SCENARIO as above, OVERLAY=tls-sasl|three-brokers, KEEP=1
	@deploy/compose/demo.sh "$(SCENARIO)" "$(OVERLAY)"

test-containers: install-dev  ## Run the tests on real containers of our images, which `make images` builds: WHAT=<file or test> for some
	TWINLOOP_CONTAINERS=1 $(RUN) -m pytest $(or $(WHAT),tests/integration/containers)

sbom: install-dev  ## Write what is in each image, and under which licences, to build/sbom: IMAGES as above
	@$(RUN) deploy/docker/sbom.py $(IMAGES)

engine-down:  ## Stop the Docker engine that the targets around images started; no other
	@deploy/docker/engine.sh down

# ---- work on it

test: install-dev  ## Run every test, against real parts: WORKERS=0 for one after the other
	$(RUN) -m pytest $(BESIDE)

fault: install-dev  ## Kill real parts under load and reconcile with an oracle: ROWS="kill zombie" for some, SEED=<n> to repeat
	@PYTHONPATH=tests $(RUN) -m fault $(ROWS) $(if $(SEED),--seed $(SEED))

fault-models: install-dev  ## Swap models under load, kill half way through, stage bad ones, and reconcile: ROWS, SEED as above
	@PYTHONPATH=tests $(RUN) -m fault --table models $(ROWS) $(if $(SEED),--seed $(SEED))

mutants: install-dev  ## Break the guards one operator at a time; the tests must notice: TARGETS="line-guard" for some
	@PYTHONPATH=tests $(RUN) -m mutation $(TARGETS)

bench: install-dev  ## Measure Twinloop beside other ways to do its work: RECORD=1 to write docs/benchmarks.md
	@$(PYTHON) deploy/local/bootstrap.py bench
	@PYTHONPATH=tests $(RUN) -m bench $(if $(RECORD),--record)

bench-loop: install-dev  ## Measure how good the loop is, by fault: SEEDS=<n>, RECORD=1 to write docs/loop-quality.md
	@PYTHONPATH=tests $(RUN) -m bench_loop --seeds $(or $(SEEDS),100) $(if $(RECORD),--record)

bench-field: install-dev  ## Measure how sure the slow loop is, on simulated fleets: RECORD=1 to write docs/slow-loop.md
	@OPENBLAS_NUM_THREADS=1 PYTHONPATH=tests $(RUN) -m bench_field $(if $(RECORD),--record)

bench-capacity: install-dev  ## Measure what loads cost each program: RECORD=1 to write docs/capacity.md, SHORT=1 to see it work
	@$(if $(RECORD),$(PYTHON) deploy/local/bootstrap.py bench)
	@PYTHONPATH=tests $(RUN) -m bench_capacity $(if $(SHORT),--short) $(if $(RECORD),--record)

eval: install-train  ## Train and judge on recorded data that TWINLOOP_DATA names: RECORD=1 to write docs/detection.md
	@PYTHONPATH=tests $(TRAIN) -m eval $(WHAT) $(if $(ABLATIONS),--ablations) $(if $(RECORD),--record)

test-unit: install-dev  ## Run the tests that need no parts
	$(RUN) -m pytest libs services deploy/local

test-helm: install-dev  ## Check the chart: lint, renders, refusals, every profile against several versions of Kubernetes
	$(RUN) -m pytest tests/helm

helm-refresh: install-dev  ## Write what is made of other things: the chart's tables, its golden renders
	PYTHONPATH=tests $(RUN) -m helm

test-k8s: install-dev  ## Install the chart on a real Kubernetes, upgrade it under traffic, drain it: KUBECONFIG, or TWINLOOP_CLUSTER names a folder of tools that make one
	PYTHONPATH=tests $(RUN) -m pytest tests/k8s -o python_files='k8s_*.py' -x

test-train: install install-train  ## Run the tests that need torch, and play the page for data scientists
	$(TRAIN) -m pytest tests/train tests/howto

lint: install-dev  ## Check style, types and the rules of imports
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy $(addprefix -p twinloop.,$(PACKAGES))
	.venv/bin/lint-imports

format: install-dev  ## Bring the sources into form
	.venv/bin/ruff check --fix . ; .venv/bin/ruff format .

install:  # what running needs
	@$(PYTHON) deploy/local/bootstrap.py services triton kafka

install-dev:  # and what lint and tests need
	@$(PYTHON) deploy/local/bootstrap.py dev triton kafka prometheus

install-train:  # torch, in an environment of its own: some gigabytes
	@$(PYTHON) deploy/local/bootstrap.py train

docs: install-dev  ## Write the pages of docs/ that are made from the code
	PYTHONPATH=tests $(RUN) -m docs

dashboards: install-dev  ## Write Grafana's dashboards
	PYTHONPATH=deploy $(RUN) -m grafana

proto: install-dev  ## Generate the Protobuf modules
	PATH=.venv/bin:$$PATH $(RUN) -m grpc_tools.protoc -I libs/contracts --python_out=libs/contracts --mypy_out=libs/contracts twinloop/contracts/telemetry.proto
	PATH=.venv/bin:$$PATH $(RUN) -m grpc_tools.protoc -I libs/sparkplug --python_out=libs/sparkplug --mypy_out=libs/sparkplug twinloop/sparkplug/sparkplug.proto

audit: install  ## Ask PyPI's advisories whether anything that is pinned has a known weakness
	@$(PYTHON) deploy/local/bootstrap.py audit
	@$(RUN) -m twinloop.local.weaknesses

lock:  ## Pin the requirements anew: needs uv
	@for one in services dev triton kafka bench train audit uv; do \
	  (cd deploy/requirements && uv pip compile $$one.in --quiet --generate-hashes --universal --python-version 3.11 --no-header --no-emit-index-url --no-emit-find-links -o $$one.txt) || exit 1; \
	done
	$(PYTHON) deploy/docker/lock.py

clean: down  ## Remove what was made here; the cache folder with downloads stays
	rm -rf .venv .venv-train .twinloop .twinloop-demo .twinloop-replay .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
