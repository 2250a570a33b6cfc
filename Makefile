# `make help` lists the targets. Everything is built into .venv; nothing else on the machine is touched.

SHELL := /bin/sh
.DEFAULT_GOAL := help

# The first Python that is new enough; PYTHON=... overrides.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
NATIVE := pyproject.toml setup.py CMakeLists.txt $(wildcard rtscore/_kernel/*.hpp rtscore/_kernel/*.pyx rtscore/_kernel/*.pxd)
ARGS ?=

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-18s %s\n", $$1, $$2}'

.PHONY: demo
demo: .venv/$(if $(findstring --dashboard,$(ARGS)),dashboard,cluster).stamp ## build, then run a master, four workers and real tasks (ARGS="--dashboard")
	@$(BIN)/rts demo $(ARGS)

.PHONY: test
test: .venv/dev.stamp ## build, then run the whole test suite (ARGS="-k name")
	$(BIN)/python -m pytest $(ARGS)

.PHONY: lint
lint: .venv/dev.stamp ## ruff format and check, mypy strict
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

.PHONY: format
format: .venv/dev.stamp ## let ruff mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The site's pages lie as they do here, so that a link that works in a checkout works there.
PAGES := README.md ARCHITECTURE.md CONTRIBUTING.md CHANGELOG.md docs rtscore/reference.py

.PHONY: docs
docs: .venv/dev.stamp ## write what the documents take from the sources, and build build/site; a broken link is an error
	$(BIN)/python docs/generate.py
	rm -rf build/pages && mkdir -p build/pages/rtscore
	for page in $(PAGES); do ln -s "$(CURDIR)/$$page" "build/pages/$$page"; done
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo build/site/index.html

.PHONY: bench
bench: .venv/dev.stamp ## the benchmarks under pytest-benchmark
	$(BIN)/python -m pytest benchmarks/bench_*.py --benchmark-only $(ARGS)

# The preloaded runtimes must come first in every process, and CPython's own allocator would hide errors from them.
SANITIZED = LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libubsan.so) $$(g++ -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 PYTHONMALLOC=malloc PYTHONPATH=build/sanitize:.
KERNEL_TESTS := $(patsubst %,tests/rtscore/test_%.py,kernel_exact kernel_index candidates table scheduler select_many explain threads tasks openb numba_api)

.PHONY: sanitize
sanitize: .venv/dev.stamp ## the kernel's tests under AddressSanitizer and UndefinedBehaviorSanitizer
	CMAKE_ARGS="-DRTSCORE_SANITIZE=address,undefined" SKBUILD_INSTALL_STRIP=false $(BIN)/python -m pip install --quiet \
		--no-deps --no-build-isolation --upgrade --target build/sanitize .
	@$(SANITIZED) $(BIN)/python -P -c 'import rtscore; assert "build/sanitize" in rtscore.__file__, rtscore.__file__'
	$(SANITIZED) RTS_EXACT_CASES=1500 RTS_MUTATIONS=10000 $(BIN)/pytest -q -p no:cacheprovider --timeout 900 $(KERNEL_TESTS) $(ARGS)

.PHONY: profile
profile: .venv/dev.stamp ## the kernel with symbols in build/profile, and the hot loop on it (ARGS="--cluster late")
	CMAKE_ARGS="-DRTSCORE_PROFILE=ON" SKBUILD_INSTALL_STRIP=false $(BIN)/python -m pip install --quiet \
		--no-deps --no-build-isolation --upgrade --target build/profile .
	PYTHONPATH=build/profile:. $(BIN)/python -P -m benchmarks.hot_loop $(ARGS)

.PHONY: kill-test
kill-test: .venv/dev.stamp ## kill -9 the master 100 times under load (RTS_KILL_ROUNDS=n)
	RTS_KILL_ROUNDS=$${RTS_KILL_ROUNDS:-100} $(BIN)/python -m pytest tests/e2e/test_kill.py -s --timeout 3600 $(ARGS)

SECONDS ?= 300

.PHONY: chaos
chaos: .venv/dev.stamp ## every fault at random under load, then the proof (SECONDS=300 SEED=n STORE=mongo)
	PYTHONPATH=tests $(BIN)/python tests/e2e/chaos.py --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) \
		$(if $(STORE),--store $(STORE)) $(ARGS)

.PHONY: fuzz
fuzz: .venv/fuzz.stamp ## 100,000 bad messages to a live master, then atheris on what reads (RTS_FUZZ_MESSAGES=n FUZZ_SECONDS=s per reader)
	RTS_FUZZ_MESSAGES=$${RTS_FUZZ_MESSAGES:-100000} $(BIN)/python -m pytest tests/fuzz/test_fuzz_live.py -s --timeout 3600
	mkdir -p build/fuzz
	$(BIN)/python tests/fuzz/atheris_parsers.py -max_total_time=$${FUZZ_SECONDS:-30} -artifact_prefix=build/fuzz/ $(ARGS)

.PHONY: proto
proto: .venv/dev.stamp ## regenerate rtscore/rpc from proto/
	PATH="$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I rtscore/rpc=proto --python_out=. \
		--grpc_python_out=. --mypy_out=quiet:. --mypy_grpc_out=quiet:. \
		rtscore/rpc/agent.proto rtscore/rpc/cluster.proto rtscore/rpc/scheduler.proto

.PHONY: clean
clean: ## remove everything that was built
	rm -rf .venv build dist *.egg-info rtscore/_kernel/*.so

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "rtscore needs Python 3.11 or newer, and none was found: install one, or name it with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "rtscore needs Python 3.11 or newer, and $(PYTHON) is `$(PYTHON) -V 2>&1`: name another with PYTHON=..." >&2; exit 1; }
	@command -v "$${CXX:-c++}" >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null || { echo "rtscore compiles its kernel and found no C++ compiler: install g++ or clang++, or name one with CXX=..." >&2; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' || { echo "rtscore compiles its kernel and $(PYTHON) has no header files: install its development package (Debian: python3-dev)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "rtscore builds into a virtual environment and $(PYTHON) cannot make one: install its venv package (Debian: python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/%.stamp: .venv/bin/python $(NATIVE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[$*]"
	@touch $@
