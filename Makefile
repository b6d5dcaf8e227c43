PYTHON ?= python3
ifeq ($(OS),Windows_NT)
VENV := .venv/Scripts/python.exe
else
VENV := .venv/bin/python
endif

.PHONY: help setup demo test bench lint clean

help:
	@echo "make demo   a masked edit on the demo model, dense and compressed, with a contact sheet"
	@echo "make test   all tests, against a real ComfyUI"
	@echo "make bench  speed-up of the defaults on this machine"
	@echo "make lint   ruff and mypy"

setup:
	@$(PYTHON) tools/setup_env.py

demo: setup
	@$(VENV) -m tools.demo

test: setup lint
	@$(VENV) -m pytest tests/core --cov --cov-report=term
	@$(VENV) -m pytest -n logical --dist loadfile --ignore=tests/core

bench: setup
	@$(VENV) -m lab.speed.cpu

lint: setup
	@$(VENV) -m ruff check .
	@$(VENV) -m tools.typecheck

clean:
	rm -rf .venv .cache
