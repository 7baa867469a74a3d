# Every target runs commands that you could type, and every variable can be given:
#  make features DATA=data/coco ENCODER=resnet101 WEIGHTS=default
#
#   make demo        set up, draw the default data set, train an encoder and a decoder, evaluate
#   make test        set up and run the test suite
#   make check       formatter, linter and type checker
#   make features    labels and features of DATA (default: the embedded data set)
#   make train       a decoder on DATA, into RUN
#   make eval        captions of SPLIT of DATA by RUN, and their scores
#   make sample      the caption of IMAGE by RUN
#   make coco        download COCO, features, training, self-critical training, scores; days on a CPU
#   make rehearsal   training on COCO, rehearsed on as many drawn pictures: an hour, into OUT
#   make bench       every benchmark under tests/bench
#   make attack      hostile input and kills for all commands, for MINUTES (default: 60)
#   make soak        2,000 requests to the demo with RUN, 50 at once
#   make mutants     COUNT changed lines (default: 150), each with its tests; takes hours
#   make clean       remove data/scenes and runs; the environment stays

PYTHON      ?= python3
VENV        ?= .venv
PY          := $(VENV)/bin/python
DATA        ?= data/scenes
RUN         ?= runs/default
SPLIT       ?= test
IMAGE       ?= $(lastword $(sort $(wildcard data/scenes/images/*.jpg)))
ENCODER     ?= resnet101
WEIGHTS     ?= default
ANNOTATIONS ?= $(DATA)/annotations.json
IMAGES      ?= $(DATA)
# that matplotlib and scikit-learn bring along
PHOTOGRAPHS  = $(wildcard $(addprefix $(VENV)/lib/python3*/site-packages/, \
	matplotlib/mpl-data/sample_data/grace_hopper.jpg sklearn/datasets/images/*.jpg))
TRAINED      := data/scenes/resnet10-w32-s16

.PHONY: help setup demo test check features train eval sample coco rehearsal bench attack soak mutants clean
help:
	@sed -n 's/^# \{0,3\}//p' Makefile | head -17

setup: $(VENV)/.installed

$(VENV)/.installed: setup.cfg constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer, please")'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo:
	$(MAKE) features train eval DATA=data/scenes
	$(PY) -m caption.report --run $(RUN) --out $(RUN)/report.html \
		--instances data/scenes/annotations.json
	$(PY) -m caption.sample --run $(RUN) $$(ls data/scenes/images/*.jpg | tail -5)
	$(PY) -m caption.sample --run flickr8k $(PHOTOGRAPHS)

train: setup
	$(PY) -m caption.train --data $(DATA) --out $(RUN)

# Captions of a split, their scores, and what they have to beat; of scenes, how much is true.
eval: setup
	$(PY) -m caption.generate --run $(RUN) --data $(DATA) --split $(SPLIT) --out $(RUN)/results.json
	$(PY) -m eval.score --references $(DATA)/labels.json --split $(SPLIT) --results $(RUN)/results.json
	$(PY) -m eval.baselines --references $(DATA)/labels.json --split $(SPLIT) $(SCENES)
ifeq ($(DATA),data/scenes)
	$(PY) -m eval.statements --results $(RUN)/results.json
endif

sample: setup
	$(PY) -m caption.sample --run $(RUN) $(IMAGE)

# Labels and features. The embedded data set is drawn, and gets an encoder of its own, trained on
# its labels; for your pictures give ENCODER and WEIGHTS (default: torchvision's, downloaded).
ifeq ($(DATA),data/scenes)
SCENES := --scenes data/scenes/annotations.json
features: data/scenes/labels.json $(TRAINED)/trained
	$(PY) -m prepro.features --data data/scenes \
		--encoder resnet10-w32-s16 --weights $(TRAINED)/encoder.safetensors
else
features: $(DATA)/labels.json
	$(PY) -m prepro.features --data $(DATA) --encoder $(ENCODER) --weights $(WEIGHTS)

ifeq ($(wildcard $(ANNOTATIONS)),)
$(ANNOTATIONS):
	@echo "$@: no such file; name the captions and the pictures: make features DATA=$(DATA)" \
		"ANNOTATIONS=captions.json IMAGES=photos" >&2; exit 2
endif
endif

# COCO with Karpathy's split, from nothing to scores. Every step goes on where it was stopped: run
# `make coco` again. Times are of two CPU cores (BENCHMARKS.md); a GPU is not yet measured.
COCO ?= data/coco
coco: setup
	@echo "1 of 6: download, 41 GB of disk while it unpacks, 21 GB afterwards" >&2
	$(PY) -m prepro.download coco --out $(COCO)
	@echo "2 of 6: labels, 5 seconds, 0.7 GB of memory" >&2
	test -e $(COCO)/labels.json || $(PY) -m prepro.labels \
		--annotations $(COCO)/dataset_coco.json --images $(COCO) --out $(COCO)
	@echo "3 of 6: features, 25 GB of disk, 2 GB of memory, 3 hours" >&2
	$(PY) -m prepro.features --data $(COCO) --encoder $(ENCODER) --weights $(WEIGHTS)
	@echo "4 of 6: Top-Down, 25 GB of memory or a fast disk, 40 minutes an epoch" >&2
	$(PY) -m caption.train --data $(COCO) --preset topdown --out runs/coco $(call resume,runs/coco)
	@echo "5 of 6: self-critical training, the same memory, longer epochs" >&2
	$(PY) -m caption.train --start runs/coco --preset scst --out runs/coco-scst \
		$(call resume,runs/coco-scst)
	@echo "6 of 6: captions and scores of the test split" >&2
	$(MAKE) eval DATA=$(COCO) RUN=runs/coco-scst
resume = $(if $(wildcard $(1)/last.json),--resume)

data/scenes/annotations.json: | setup
	$(PY) -m prepro.scenes --out data/scenes --train 4000

$(TRAINED)/trained: data/scenes/annotations.json
	$(PY) -m prepro.pretrain --data data/scenes/annotations.json --out $(TRAINED) \
		--recipe captions --encoder resnet10-w32-s16 --crop 112 --resize 112 \
		$(if $(wildcard $(TRAINED)/last.pt),--resume)
	touch $@

$(DATA)/labels.json: $(ANNOTATIONS) | setup
	$(PY) -m prepro.labels --annotations $(ANNOTATIONS) --images $(IMAGES) --out $(DATA)

test: setup
	$(PY) -m pytest -m "not slow" --numprocesses auto --maxprocesses 8 --dist worksteal

check: setup
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

rehearsal: setup
	$(PY) -m tests.bench.rehearsal --out $(or $(OUT),rehearsal)

bench: setup
	for bench in $(filter-out rehearsal growth subjects,$(basename $(notdir $(wildcard tests/bench/[a-z]*.py)))); do \
		$(PY) -m tests.bench.$$bench || exit 1; done

MINUTES ?= 60
attack: setup
	$(PY) -m tests.faults.attack --minutes $(MINUTES)

soak: setup
	$(PY) -m tests.faults.soak --run $(RUN)

COUNT ?= 150
SEED  ?= 1
mutants: setup
	$(PY) -m tests.mutants --count $(COUNT) --seed $(SEED)

clean:
	rm -rf data/scenes runs
