# The whole project in a few words. Every target is a command you could type, and every variable
# can be given:  make features DATA=data/coco ENCODER=resnet101 WEIGHTS=default
#
#   make demo        set up, draw the default data set, train an encoder and a decoder, evaluate
#   make test        set up and run the test suite
#   make features    labels and features of DATA (default: the embedded data set)
#   make bench       every benchmark under tests/bench
#   make clean       remove data/scenes and runs; the environment stays

PYTHON  ?= python3
VENV    ?= .venv
RUN     := $(VENV)/bin/python
DATA    ?= data/scenes
OUT     ?= runs/default

.PHONY: help setup demo test features labels train evaluate bench clean
help:
	@sed -n 's/^# \{0,3\}//p' Makefile | head -9

setup: $(VENV)/.installed

$(VENV)/.installed: setup.cfg constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer, please")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo: features
	$(RUN) -m caption.train --out $(OUT)
	$(MAKE) evaluate
	$(RUN) -m caption.sample $(sort $(wildcard data/scenes/images/00479*.jpg))

evaluate:
	$(RUN) -m caption.generate --run $(OUT) --split test --out $(OUT)/results.json
	$(RUN) -m eval.score --references data/scenes/labels.json --split test --results $(OUT)/results.json
	$(RUN) -m eval.baselines --split test --scenes data/scenes/annotations.json
	$(RUN) -m eval.statements --results $(OUT)/results.json

# Labels and features. The embedded data set is drawn and gets an encoder trained on its captions;
# for your own, give ENCODER and WEIGHTS: default downloads torchvision's.
features: setup $(DATA)/labels.json
ifeq ($(DATA),data/scenes)
	test -f data/scenes/encoder/encoder.safetensors || $(RUN) -m prepro.pretrain \
		--data data/scenes --out data/scenes/encoder --recipe captions \
		--encoder resnet10-w32 --crop 112 --resize 112 \
		$(if $(wildcard data/scenes/encoder/last.pt),--resume)
	$(RUN) -m prepro.features --data data/scenes \
		--encoder resnet10-w32 --weights data/scenes/encoder/encoder.safetensors
else
	$(RUN) -m prepro.features --data $(DATA) --encoder $(ENCODER) --weights $(WEIGHTS)
endif

ENCODER     ?= resnet101
WEIGHTS     ?= default
ANNOTATIONS ?= $(DATA)/annotations.json
IMAGES      ?= $(DATA)

data/scenes/annotations.json: | setup
	$(RUN) -m prepro.scenes --out data/scenes

$(DATA)/labels.json: $(ANNOTATIONS) | setup
	$(RUN) -m prepro.labels --annotations $(ANNOTATIONS) --images $(IMAGES) --out $(DATA)

test: setup
	$(RUN) -m pytest -m "not slow"

bench: setup
	for bench in $(basename $(notdir $(wildcard tests/bench/[a-z]*.py))); do \
		$(RUN) -m tests.bench.$$bench || exit 1; done

clean:
	rm -rf data/scenes runs
