PYTHON ?= python3
ifeq ($(OS),Windows_NT)
VENV := .venv/Scripts/python.exe
else
VENV := .venv/bin/python
endif

# a Python that can run the ComfyUI of `make test-host`, with its requirements and the tests' own tools
HOST_PYTHON ?= $(VENV)

.PHONY: help setup demo test test-host bench lint clean

help:
	@echo "make demo   a masked edit on the demo model, dense and compressed, with a contact sheet"
	@echo "make test   all tests, against a real ComfyUI"
	@echo "make test-host DIR=path/to/ComfyUI [HOST_PYTHON=python]   the same, against that checkout"
	@echo "make bench  speed-up of the defaults on this machine"
	@echo "make lint   ruff and mypy"

setup:
	@$(PYTHON) tools/setup_env.py

demo: setup
	@$(VENV) -m tools.demo

test: setup lint
	@$(VENV) -m pytest tests/core --cov --cov-report=term
	@$(VENV) -m pytest -n logical --dist loadfile --ignore=tests/core

test-host:
	@test -d "$(DIR)/comfy" || { echo "make test-host DIR=path/to/ComfyUI: no ComfyUI in '$(DIR)'"; exit 1; }
	@$(HOST_PYTHON) tools/setup_env.py --link "$(DIR)"
	@HILO_COMFYUI_DIR="$(DIR)" $(HOST_PYTHON) -m pytest --ignore=tests/core

bench: setup
	@$(VENV) -m lab.speed.cpu

lint: setup
	@$(VENV) -m ruff check .
	@$(VENV) -m tools.typecheck

clean:
	rm -rf .venv .cache
