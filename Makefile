PYTHON ?= python3
# CPU=1 takes the CPU-only build of torch; a plain install on Linux brings several GB of CUDA.
# Not from the environment, where some systems have the processor's name in it
ifeq ($(origin CPU),environment)
CPU :=
endif
DATA_DIR ?= data
# bfloat16 where the processor is faster with it; empty: float32
PRECISION ?=
# networks that are trained at once, each with its share of the cores
JOBS ?= 1
FLAGS ?=

# what may have spaces, quotes and any other bytes in it reaches the commands as it is
export PYTHON DATA_DIR
unexport PYTHONSAFEPATH  # the commands are run from here

bin := .venv/bin
scripts := homework_cnn_vs_fc_comparison.py homework_cnn_architecture_analysis.py \
           homework_custom_layers_experiments.py

training = --data-dir "$$DATA_DIR" --jobs $(JOBS) $(if $(PRECISION),--precision $(PRECISION)) $(FLAGS)

# into docs/speed.md, unless the records went elsewhere
render-page = $(if $(filter --out-dir% --quick -h --help,$(FLAGS)),,$(bin)/python -m benchmarks.bench --render)

.PHONY: help quick test soak verify full render bench bench-accuracy bench-precision search lint clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

quick: .venv/run ## set up, then all three scripts on shipped and synthetic images: minutes
	set -e; for script in $(scripts); do $(bin)/python $$script --quick $(FLAGS); done

test: .venv/dev ## set up, then lint and all tests: minutes
	$(bin)/python -m ruff check .
	$(bin)/python -m ruff format --check .
	$(bin)/python -c 'from importlinter.cli import lint_imports_command; lint_imports_command()' --no-cache
	$(bin)/python -m pytest

soak: .venv/dev ## faults at every write of a small study, and many more examples: half an hour
	OMP_NUM_THREADS=1 $(bin)/python -m tests.faults --jobs 2
	$(bin)/python -m pytest -m 'hypothesis or soak' --hypothesis-profile soak

verify: .venv/run ## accuracies again from the weights, tables again from the records: two to four minutes
	set -e; for script in $(scripts); do $(bin)/python $$script --evaluate --data-dir "$$DATA_DIR"; done
	$(bin)/python verify_tables.py

full: .venv/run ## what has no record yet, on full MNIST and CIFAR-10; all of it with FLAGS='--out-dir DIR': days on a CPU
	set -e; for script in $(scripts); do $(bin)/python $$script $(training); done

render: .venv/run ## tables, figures and README again, from the records alone
	set -e; for script in $(scripts); do $(bin)/python $$script --no-train; done
	$(bin)/python -m benchmarks.recipes --no-train
	$(bin)/python -m benchmarks.bench --render

bench: .venv/run ## ratios against the usual loop and the processor: an hour, on an idle machine
	$(bin)/python -m benchmarks.bench --data-dir "$$DATA_DIR" $(FLAGS)

bench-accuracy: .venv/run ## seconds to the report's accuracy, ours and the usual loop's: hours; goes on at will
	$(bin)/python -m benchmarks.time_to_accuracy $(training)
	$(render-page)

bench-precision: .venv/run ## the same networks in float32 and bfloat16, up to three seeds: hours; goes on at will
	$(bin)/python -m benchmarks.precision $(training)
	$(render-page)

search: .venv/run ## train the candidates for a recipe that have no record, on held-out images: hours
	$(bin)/python -m benchmarks.recipes $(training)

lint: .venv/dev ## repair what the linter can repair
	$(bin)/python -m ruff check --fix .
	$(bin)/python -m ruff format .

clean: ## remove the environment, quick output, unfinished runs, logs and locks
	rm -rf .venv results/quick plots/quick README*.tmp
	$(if $(wildcard results plots docs),find -H $(wildcard results plots docs) \( -name '*.checkpoint.*' -o -name '*.log' -o -name '*.lock' -o -name '*.tmp' \) -prune -exec rm -rf {} +)

old = import sys; sys.version_info < (3, 11) and sys.exit("error: Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": give PYTHON=python3.13, say")
version = import sys; print(sys.version_info[:2])

# an environment of another Python is made anew: venv would leave that one in it
.venv/run: requirements.txt
	@"$$PYTHON" -c '$(old)'
	@"$$PYTHON" -m venv $$([ "$$($(bin)/python -c '$(version)' 2>&1)" = "$$("$$PYTHON" -c '$(version)')" ] || echo --clear) .venv
	$(if $(filter-out 0 no,$(CPU)),$(bin)/python -m pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu)
	$(bin)/python -m pip install -r requirements.txt
	touch $@

.venv/dev: .venv/run requirements-dev.txt requirements-cluster.txt
	$(bin)/python -m pip install -r requirements-dev.txt
	touch $@
