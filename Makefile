# The commands of this project; `make` lists them. See README.md.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

# Every build looks for libtorch in .libtorch (.cargo/config.toml), so that it does not depend on the shell it is started
# in; what the user's environment says about libtorch is read by scripts/install-libtorch.sh alone.
CARGO := env -u LIBTORCH -u LIBTORCH_USE_PYTORCH -u LIBTORCH_INCLUDE -u LIBTORCH_LIB -u LIBTORCH_STATIC cargo
STEP := scripts/step.sh
ENGINE := target/release/engine

# Programs are where README.md says, whatever the user's cargo is told elsewhere.
export CARGO_TARGET_DIR := $(CURDIR)/target

# One profile, so that the C++ bindings to libtorch are compiled once; the whole workspace, so that every crate is built
# with the same features whatever is asked for.
BUILD := $(CARGO) build --release --workspace

.PHONY: help run build test faults fuzz test-peft test-adapters test-harness test-trackers golden bench bench-quickstart bench-engine bench-methods bench-metrics bench-tokenize bench-generate bench-evaluate bench-rows needs shapes docs clean libtorch tools test-tools

help: ## list these commands
	@awk -F ':[^#]*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' Makefile

run: build ## install, build and run pipelines/quickstart.yaml: a LoRA / DoRA comparison
	@$(ENGINE) run pipelines/quickstart.yaml

build: tools libtorch ## install libtorch and build the two programs, target/release/engine and engine-worker
	@$(BUILD)

test: test-tools ## run every test and check: format, lints, licences, unit and whole-program tests
	@$(STEP) libtorch scripts/install-libtorch.sh
	@$(STEP) scripts scripts/tests.sh
	@$(STEP) format $(CARGO) fmt --all --check
	@$(STEP) licences scripts/check-licences.sh
	@$(STEP) lints $(CARGO) clippy --release --workspace --all-targets -- -D warnings
	@$(STEP) "data set" python3 datasets/quickstart/generate.py --check
	@$(STEP) "small sets" python3 datasets/generate.py --check
	@$(STEP) "tiny models" python3 datasets/tiny_models/generate.py --check
	@$(STEP) build $(BUILD)
	@$(STEP) tests $(CARGO) test --release --workspace

faults: build ## kill and disturb the programs in every way: 300 random kills, before and after each change of a file
	@FAULTS=full $(CARGO) test --release --workspace --test whole faults:: -- --nocapture

fuzz: ## feed the readers with made-up texts for MINUTES=5 minutes in all
	@scripts/fuzz.sh "$(or $(MINUTES),5)"

test-peft: build ## compare with PEFT itself, in an environment of its own (.venv-peft, 6 GB)
	@$(BUILD) --example peft_interop
	@OMP_NUM_THREADS=1 "$$(scripts/peft-venv.sh)" tests/peft/interop.py target/release/examples/peft_interop

test-adapters: build ## compare bottlenecks with adapter-hub's library, in an environment of its own (.venv-adapters, 6 GB)
	@$(BUILD) --example adapters_interop
	@OMP_NUM_THREADS=1 "$$(scripts/peft-venv.sh adapters)" tests/peft/adapters_interop.py target/release/examples/adapters_interop

test-trackers: build ## tell real trackers what a run does: tensorboard, mlflow, the schemas of clearml (.venv-trackers, 1 GB)
	@"$$(scripts/peft-venv.sh trackers)" tests/trackers/check.py $(ENGINE)

test-harness: build ## compare the protocol `choices` with lm-evaluation-harness, in an environment of its own (.venv-harness, 6 GB)
	@"$$(scripts/peft-venv.sh harness)" tests/harness/choices.py $(ENGINE)

golden: ## write the golden values again, with PEFT's environment
	@python="$$(scripts/peft-venv.sh)"; \
	for program in $(filter-out %/common.py %/families.py %/bottleneck.py,$(wildcard tests/golden/*.py)); do \
		echo "$$program"; OMP_NUM_THREADS=1 "$$python" "$$program"; \
	done
	@OMP_NUM_THREADS=1 "$$(scripts/peft-venv.sh adapters)" tests/golden/bottleneck.py

# What is measured on a GPU: `make bench DEVICE=cuda`.
WORK := $(if $(filter cuda,$(DEVICE)),gemma-3-1b llama-7b,squad shared encoder)
PRECISIONS := $(if $(filter cuda,$(DEVICE)),bf16,float32)

bench: build ## measure training, evaluation and tokenizing beside PEFT, transformers and datasets, for docs/benchmarks.md
	@$(BUILD) --examples
	@python="$$(scripts/peft-venv.sh)"; into=scripts/bench_docs.py; \
	python3 $$into rows$(addprefix -,$(DEVICE)) python3 scripts/bench_rows.py "$$python" --work $(WORK) --precisions $(PRECISIONS); \
	if [ -z "$(DEVICE)" ]; then \
		python3 $$into methods python3 scripts/bench_methods.py "$$python"; \
		python3 $$into evaluate python3 scripts/bench_evaluate.py; \
		python3 $$into generate python3 scripts/bench_generate.py "$$python"; \
		python3 $$into tokenize python3 scripts/bench_tokenize.py; \
	fi

bench-quickstart: build ## measure the quickstart, a run that changes nothing, and the start of the programs
	@python3 scripts/bench.py

bench-engine: build ## measure the engine against ninja and DVC, in an environment of its own (.venv-bench)
	@python3 scripts/bench_engine.py

bench-methods: build ## measure a training step of each method beside PEFT's: saved activations, memory, seconds
	@$(BUILD) --example step
	@python3 scripts/bench_methods.py "$$(scripts/peft-venv.sh)"

bench-generate: build ## measure generation beside transformers': tokens and rows a second
	@$(BUILD) --example generate
	@python3 scripts/bench_generate.py "$$(scripts/peft-venv.sh)"

bench-evaluate: build ## measure questions about shared contexts beside plain batches of ours, with the shape of Gemma-3 1B
	@$(BUILD) --example generate
	@python3 scripts/bench_evaluate.py

bench-metrics: build ## measure the metrics of 100,000 texts beside the Python ones, in an environment of its own (.venv-metrics)
	@$(BUILD) --example score
	@python3 scripts/bench_metrics.py

bench-tokenize: build ## measure 1,000,000 rows to token ids beside Hugging Face's datasets, in an environment of its own (.venv-tokenize, 1 GB)
	@python3 scripts/bench_tokenize.py

bench-rows: build ## measure training on rows of many lengths beside PEFT with Trainer: rows a second
	@$(BUILD) --example rows
	@python3 scripts/bench_rows.py "$$(scripts/peft-venv.sh)"

needs: build ## what each study needs, by `engine estimate` from its models' shapes: the table of README.md
	@python3 scripts/needs.py

shapes: build ## train the studies' models with random weights for two steps: memory and time beside the forecast
	@$(BUILD) --example forecast
	@scripts/shapes.sh

docs: build ## write docs/pipeline.md, the reference of the pipeline file
	@$(ENGINE) schema --docs > docs/pipeline.md.new
	@mv docs/pipeline.md.new docs/pipeline.md

clean: ## remove what was built; libtorch, outputs and environments stay
	@$(CARGO) clean

libtorch:
	@scripts/install-libtorch.sh

tools:
	@scripts/check-tools.sh

test-tools:
	@scripts/check-tools.sh --test
