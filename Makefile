# The whole project in a few words: `make demo` shows it, `make test` proves it, `make features`
# prepares your data. Every target is a command you could type; every variable can be given:
#   make features DATA=data/coco ENCODER=resnet101 WEIGHTS=default

PYTHON  ?= python3
VENV    ?= .venv
RUN     := $(VENV)/bin/python

.PHONY: help setup test
help:
	@sed -n 's/^# *//p' Makefile | head -4

setup: $(VENV)/.installed

$(VENV)/.installed: setup.cfg constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer, please")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

test: setup
	$(RUN) -m pytest -m "not slow"
