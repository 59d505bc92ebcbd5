# `make setup` leaves a working .venv/bin/trueup; `make demo` shows it; `make check` is what CI runs.
.POSIX:
.PHONY: help setup dev packages testing lint types test integration render sops cluster check demo demo-kubernetes bench bench-kubernetes wheel lock pictures clean

VENV = .venv
BIN = $(VENV)/bin

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile

setup: ## .venv/bin/trueup from the hashed lock (quick when nothing changed)
	@VENV=$(VENV) scripts/setup run

dev: ## the same, with what checks it
	@VENV=$(VENV) scripts/setup dev

packages: ## the Debian packages Trueup works with (root or sudo)
	@scripts/packages

testing: packages ## and those that only its tests need
	@scripts/packages busybox-static gpg gpg-agent containernetworking-plugins conntrack

lint: dev ## ruff and the import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: dev ## mypy, strict
	$(BIN)/mypy

test: dev ## unit, contract and property tests: no network, no container
	$(BIN)/pytest -q -m "not integration"

integration: dev testing ## real Podman, HAProxy, registry and Git servers
	$(BIN)/pytest -q -m integration

render: ## the worker for Kustomize, Helm and Jsonnet, where Go is there
	@scripts/render tools

sops: ## what opens files that SOPS encrypted, where Go is there
	@scripts/sops tools

cluster: dev ## the Kubernetes that tests run on, where Go is there
	@PYTHONPATH=tests $(BIN)/python -m cluster.build

check: dev testing lint types render sops cluster ## everything
	@PYTHON=$(BIN)/python scripts/wheel
	$(BIN)/pytest -q

demo: setup ## the whole loop on this machine, under load (root or sudo)
	@scripts/packages
	$(BIN)/trueup demo

demo-kubernetes: dev testing ## the same on a Kubernetes of its own, with real pods (root, and Go to build it once)
	@PYTHONPATH=tests $(BIN)/python -m cluster.demo

bench: dev packages render ## ratios measured in one run, into docs/performance.md (root or sudo)
	@scripts/packages busybox-static gcc libc6-dev
	$(BIN)/python bench --write docs/performance.md

bench-kubernetes: dev ## ratios on a real API server built from Go modules, into docs/kubernetes.md
	$(BIN)/python bench kubernetes.apply kubernetes.calm kubernetes.noise kubernetes.drift kubernetes.memory \
		--write docs/kubernetes.md

wheel: dev ## dist/*.whl with the render worker where Go is there, proven in a fresh environment
	@PYTHON=$(BIN)/python scripts/wheel

lock: dev ## renew requirements*.lock
	@scripts/lock

pictures: setup ## docs/images from the real program's output
	@scripts/pictures

clean: ## what can be made again
	rm -rf dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
