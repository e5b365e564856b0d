# Every target sets up what it needs. `make help` lists them.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
ROOT   ?= runs
STUDY  ?= configs/quickstart.yaml
export OMP_NUM_THREADS = 1

.DEFAULT_GOAL := help
.PHONY: help setup demo check test prometheus chaos bench rehearse submit up down images kuberay kubejob lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: $(VENV)/.ready ## install everything into .venv, from the lock file
# --no-deps: the lock is complete. The third line does nothing after a CPU build of torch, and adds
# the CUDA libraries that the other build needs even to be imported.
$(VENV)/.ready: pyproject.toml requirements/cpu.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements/cpu.lock
	$(BIN)/python -m pip install --quiet --constraint requirements/cpu.lock torch
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

demo: setup ## run the quickstart study; a second time it does nothing
	$(BIN)/undertow run $(STUDY) --root $(ROOT)

check: setup ## style, types, layers and the fast tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest tests/unit

test: setup $(VENV)-s3/.ready prometheus ## all tests, with real Ray, vLLM, DeepSpeed, S3 servers and Prometheus
	$(BIN)/pytest

chaos: setup $(VENV)-s3/.ready ## kill and crash studies at every point, about two hours
	$(BIN)/python -m tests.chaos.report

# S3 servers to test against; one of them wants another botocore than s3fs does.
$(VENV)-s3/.ready: requirements/s3-servers.lock
	$(PYTHON) -m venv $(VENV)-s3
	$(VENV)-s3/bin/python -m pip install --quiet --no-deps --requirement requirements/s3-servers.lock
	touch $@

# Debian's package; as root where it is missing.
prometheus:
	@command -v prometheus promtool >/dev/null || { apt-get update -qq; apt-get install -y -qq --no-install-recommends prometheus; }

bench: setup ## benchmarks: ratios within one run
	$(BIN)/python tests/bench.py

rehearse: setup ## run every published experiment with nano families and small counts
	for f in configs/paper/*.yaml; do $(BIN)/undertow run $$f --rehearse --root $(ROOT)/rehearsal || exit 1; done

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

kubejob: ## a Kubernetes job with a cluster of its own: the quickstart, rehearsed on CPUs
	kubectl apply --filename infra/kuberay/network-policy.yaml --filename infra/kuberay/rehearsal.yaml

lock: ## resolve the lock files again
	$(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/python -m pip install --quiet uv
	$(VENV)-lock/bin/uv pip compile requirements/s3-servers.in \
		--python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-header --no-annotate \
		--quiet --output-file requirements/s3-servers.lock
	$(VENV)-lock/bin/uv pip compile pyproject.toml --extra gpu \
		--python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-header --no-annotate \
		--quiet --output-file requirements/gpu.lock
# The CPU build of torch wants no triton and the other one its own: that one is locked.
	grep -o '^triton==[^ ]*' requirements/gpu.lock > $(VENV)-lock/triton
	$(VENV)-lock/bin/uv pip compile pyproject.toml --extra cpu --extra dev --excludes requirements/cpu.excludes \
		--python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-header --no-annotate \
		--constraints $(VENV)-lock/triton $(addprefix --find-links ,$(PIP_FIND_LINKS)) --quiet --output-file requirements/cpu.lock
	sed -i 's/^\(torch==[^+]*\)+cpu$$/\1/' requirements/cpu.lock # whichever build the machine's index offers
	rm -rf $(VENV)-lock

clean: ## remove what setup made; results stay (`undertow gc`, or remove their folder yourself)
	rm -rf .venv .venv-s3 .mypy_cache .ruff_cache .pytest_cache .hypothesis
