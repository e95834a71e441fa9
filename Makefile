# demo, demo-long, app, test, soak, messages, lint, format, benchmark, benchmark-gpu: each makes .venv when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_DIR ?= runs/demo
# make paper DATA=dataset_root: the paper's tables; RECIPE is one of the grid's, its first where empty.
GRID ?= configs/grids/paper.yaml
DATA ?= dataset_root
PAPER_DIR ?= runs/paper
RECIPE ?=

.PHONY: demo demo-long app paper test soak messages lint format benchmark benchmark-gpu install

demo: install
	$(BIN)/python -m experiments.demo --dir $(DEMO_DIR)

# The same with a comparison of models that are given the mask with models that find the region, three seeds each.
demo-long: install
	$(BIN)/python -m experiments.demo --dir $(DEMO_DIR) --long

# The click page on the run that make demo trained, at http://127.0.0.1:7860.
app: install
	$(BIN)/python app.py --run $(DEMO_DIR)/RveRNet

paper: install
	$(BIN)/python -m experiments.paper --grid $(GRID) --data.root $(DATA) --out $(PAPER_DIR) $(if $(RECIPE),--recipe $(RECIPE))

# The tests of a file share what is costly to make, so a file stays in one worker.
test: lint
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

# The long form of the tests of faults and bad input, about 20 minutes, and docs/reliability.md made of what they saw.
SOAK ?= build/soak
BAD_INPUT = $(shell find tests -name 'test_bad_input*.py' -o -name 'test_untrusted*.py' -o -name 'test_doctor*.py' \
	-o -name 'test_*problems*.py')

soak: install
	rm -rf $(SOAK)
	$(BIN)/python -m benchmarks checkpoints
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal --soak --record $(SOAK) \
		tests/fuzz tests/faults tests/datasets/doctor tests/Off_the_shelfs/salience tests/experiments/export/test_onnx_of_regions.py \
		tests/experiments/robustness/test_truth_on_plates.py tests/benchmarks $(BAD_INPUT)
	$(BIN)/python -m benchmarks.reliability --from $(SOAK) --write

# The messages of docs/reliability.md alone, after one of them was changed.
messages: install
	rm -rf $(SOAK)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --record $(SOAK) $(BAD_INPUT)
	$(BIN)/python -m benchmarks.reliability --from $(SOAK) --messages-only --write

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: install
	$(BIN)/python -m benchmarks

benchmark-gpu: install
	$(BIN)/python -m benchmarks.gpu

install: $(VENV)/installed

# The stamp comes last, so that an interrupted installation is taken up again.
$(VENV)/installed: requirements.txt requirements-dev.txt requirements-app.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
	touch $@
