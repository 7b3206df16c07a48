# The course's commands. `make` alone prints them.
#
# Everything lives in .venv, which `make env` builds from the locks in requirements/. A step leaves
# a stamp in .venv/.stamps when it ends well, so that a second `make` finds nothing to do.

VENV     := .venv
STAMPS   := $(VENV)/.stamps
VPYTHON  := $(VENV)/bin/python
LOCKS    := requirements

# What people may set: make course DATASET=path PROFILE=laptop NOTEBOOKS="a.ipynb b.ipynb", make lab PORT=8890 BROWSER=no,
# make env GPU=yes (docs/gpu.md), which the environment then remembers, make env BUNDLE=folder
# (docs/teaching.md), which needs no network
PYTHON   ?=
GPU      ?= $(if $(wildcard $(STAMPS)/native-gpu),yes,no)
BUNDLE   ?=
DATASET  ?=
PROFILE  ?=
NOTEBOOKS ?=
PORT     ?= 8888
BROWSER  ?= yes
OUTPUT   ?= build/course
# Taken literally: a dollar sign in a path is part of the path.
override BUNDLE := $(value BUNDLE)
override DATASET := $(value DATASET)
override PROFILE := $(value PROFILE)
override NOTEBOOKS := $(value NOTEBOOKS)
export BUNDLE DATASET PROFILE NOTEBOOKS PORT OUTPUT
# Python reads a variable of this name too, and takes it for a program.
unexport BROWSER

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help env bundle course exercises bench bench-accuracy test fast-tests slow-tests lint lab native lock clean

help: ## print this list
	@echo "Commands (each makes the environment first, if it needs it and it is not there):"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | awk -F'\t' '{printf "%-22s %s\n", $$1, $$2}'

# The environment ---------------------------------------------------------------------------------

# Horovod and DALI's TensorFlow plugin exist for Linux on x86-64 only.
NATIVE_HERE = [ "$$(uname -s)-$$(uname -m)" = Linux-x86_64 ]

# With a GPU: TensorFlow's CUDA libraries too, and a Horovod that adds up with NCCL. To build it takes
# the CUDA toolkit and NCCL's headers.
FLAVOUR  := $(if $(filter-out no,$(GPU)),-gpu)
RUNTIME  := $(LOCKS)/$(if $(FLAVOUR),gpu,course).txt
HOROVOD_SWITCHES := HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 \
	HOROVOD_WITHOUT_MPI=1 HOROVOD_WITH_GLOO=1 $(if $(FLAVOUR),HOROVOD_GPU_OPERATIONS=NCCL)

# A stamp for the native step holds what was built against: a changed notebook tool need not cost
# five minutes of compiling, a changed TensorFlow must.
NATIVE_KEY = { grep -E '^(tensorflow|numpy|nvidia-dali-cuda110)==' $(LOCKS)/course.txt; \
	cat $(LOCKS)/build.txt $(LOCKS)/native.txt; } | cksum

# With hashes every requirement must be pinned; the settings that `make lock` reads from
# pyproject.toml are not. Python may be told not to keep what it compiles (images for containers often
# do), and then each start of TensorFlow compiles it anew: 14 s here in place of 6.
UV_INSTALL = "$$python" -m uv pip install --no-config --quiet --compile-bytecode --python "$$python" \
	--require-hashes $(OFFLINE)
PIP_INSTALL = "$$python" -m pip install --quiet --disable-pip-version-check --require-hashes $(OFFLINE)
OFFLINE = $(if $(BUNDLE),--no-index --find-links "$$BUNDLE/wheels")

# Find a Python 3.11: what PYTHON= says, else python3.11, else a python3 that is one.
define find_python
set -e; python=''; \
for name in $(if $(PYTHON),"$(PYTHON)",python3.11 python3); do \
	if "$$name" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; \
	then python=$$(command -v "$$name"); break; fi; \
done; \
if [ -z "$$python" ]; then \
	echo "The course needs Python 3.11 (TensorFlow 2.14 has no wheels for later ones), and found none."; \
	echo "Install it, or name it: make env PYTHON=/path/to/python3.11"; exit 1; \
fi >&2
endef

define need_bundle
if [ -n "$$BUNDLE" ] && ! [ -d "$$BUNDLE/wheels" ]; then \
	echo "BUNDLE is $$BUNDLE, but there is no folder of wheels in it. 'make bundle' makes a bundle."; exit 1; \
fi >&2
endef

define need_compiler
if $(NATIVE_HERE) && [ -z "$$BUNDLE" ] && ! command -v g++ >/dev/null; then \
	echo "Horovod is compiled here, and there is no g++. Install it, on Debian or Ubuntu:"; \
	echo "  apt-get install g++"; exit 1; \
fi >&2
endef

# Horovod and the DALI plugin are built against the TensorFlow that $python has installed.
# MAKEFLAGS is set anew: Horovod's build reads it, and with this make's own it compiles on one core.
# Without the cache, because uv and pip would give back a Horovod built for another TensorFlow.
WITH_COMPILERS = env PATH="$$(cd "$$(dirname "$$python")" && pwd):$$PATH" MAKELEVEL= MFLAGS= \
	MAKEFLAGS="-j$$(getconf _NPROCESSORS_ONLN)" $(HOROVOD_SWITCHES)

# A bundle has them built.
define add_native
if [ -n "$$BUNDLE" ]; then \
	"$$python" -m uv pip install --no-config --quiet --python "$$python" --offline --no-deps \
		--reinstall "$$BUNDLE"/native/*.whl; \
else \
	echo "Building Horovod and DALI's TensorFlow plugin (about 5 minutes on 2 cores) ..."; \
	$(WITH_COMPILERS) $(UV_INSTALL) --no-cache --no-build-isolation --no-deps \
		--reinstall-package horovod --reinstall-package nvidia-dali-tf-plugin-cuda110 \
		-r $(LOCKS)/native.txt; \
fi
endef

define build_native
if $(NATIVE_HERE); then \
	$(add_native); \
	"$$python" -c 'import horovod.tensorflow, nvidia.dali.plugin.tf' 2>/dev/null || \
		{ echo "Horovod or DALI's plugin was built, but does not import:" >&2; \
		"$$python" -c 'import horovod.tensorflow, nvidia.dali.plugin.tf'; exit 1; }; \
else \
	echo "Skipping Horovod and DALI: they exist for Linux on x86-64 only. The library works without: train with --loader tf."; \
fi
endef

# The library, editable, and its Jupyter kernel, inside the environment's own prefix. JupyterLab would
# ask each newcomer whether to fetch news, and look for updates: the plugin for both is switched off.
define install_package
"$$python" -m uv pip install --quiet --python "$$python" --no-deps --no-build-isolation -e .; \
"$$python" -m ipykernel install --sys-prefix --name nnunet-course --display-name "nnU-Net course" >/dev/null 2>&1; \
"$$python" -m jupyter labextension disable --level=sys_prefix \
	@jupyterlab/apputils-extension:announcements >/dev/null 2>&1
endef

env: $(STAMPS)/package ## make the environment .venv (about 8 minutes, 4 GB)

$(STAMPS)/venv: $(LOCKS)/uv.txt
	@$(find_python); $(need_bundle); $(need_compiler); \
	echo "Making $(VENV) with $$("$$python" --version) ..."; \
	"$$python" -m venv $(VENV); \
	python=$(VPYTHON); $(PIP_INSTALL) -r $(LOCKS)/uv.txt; \
	mkdir -p $(STAMPS); touch $@

$(STAMPS)/locked$(FLAVOUR): $(STAMPS)/venv $(RUNTIME) $(LOCKS)/dev.txt $(LOCKS)/build.txt
	@set -e; python=$(VPYTHON); \
	echo "Installing the locked packages $(if $(BUNDLE),from the bundle,(2 to 3 minutes, 1.3 GB to fetch)) ..."; \
	$(UV_INSTALL) -r $(LOCKS)/build.txt -r $(RUNTIME) -r $(LOCKS)/dev.txt; \
	touch $@

$(STAMPS)/native$(FLAVOUR): $(STAMPS)/locked$(FLAVOUR) $(LOCKS)/native.txt
	@set -e; python=$(VPYTHON); key=$$($(NATIVE_KEY)); \
	if [ "$$key" != "$$(cat $@ 2>/dev/null)" ]; then rm -f $(STAMPS)/native*; $(build_native); fi; \
	echo "$$key" > $@

$(STAMPS)/package: $(STAMPS)/native$(FLAVOUR) pyproject.toml
	@set -e; python=$(VPYTHON); \
	echo "Installing nnunet_lib and its Jupyter kernel ..."; \
	$(install_package); \
	touch $@; echo "The environment is ready: $(VENV)"

native: ## add Horovod, DALI's plugin and nnunet_lib to an active conda environment
	@$(find_python); $(need_compiler); \
	$(PIP_INSTALL) -r $(LOCKS)/uv.txt; \
	$(UV_INSTALL) -r $(LOCKS)/build.txt; \
	$(build_native); $(install_package); \
	echo "Horovod, DALI's plugin and nnunet_lib are in $$("$$python" -c 'import sys; print(sys.prefix)')"

# Everything that `make env BUNDLE=build/bundle` takes from the network, for this kind of computer.
PARTIAL  := build/bundle.partial
bundle: env ## gather wheels, and a copy of DATASET=path, in build/bundle for a room without network
	@set -e; python=$(VPYTHON); rm -rf $(PARTIAL) build/bundle; mkdir -p $(PARTIAL)/wheels; \
	echo "Fetching the locked wheels (1.3 GB) ..."; \
	for lock in $(LOCKS)/uv.txt $(LOCKS)/build.txt $(RUNTIME) $(LOCKS)/dev.txt; do \
		"$$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
			--require-hashes --dest $(PARTIAL)/wheels -r $$lock; \
	done; \
	if $(NATIVE_HERE); then \
		echo "Building Horovod and DALI's TensorFlow plugin (about 5 minutes on 2 cores) ..."; \
		$(WITH_COMPILERS) "$$python" -m pip wheel --quiet --disable-pip-version-check --no-cache-dir \
			--no-deps --no-build-isolation --require-hashes --wheel-dir $(PARTIAL)/native \
			-r $(LOCKS)/native.txt; \
		for wheel in $(PARTIAL)/native/*.whl; do \
			[ ! -e $(PARTIAL)/wheels/$${wheel##*/} ] || rm $$wheel; \
		done; \
	fi; \
	if [ -n "$$DATASET" ]; then mkdir $(PARTIAL)/data; cp -R "$$DATASET" $(PARTIAL)/data/; fi; \
	mv $(PARTIAL) build/bundle; \
	echo "The bundle is ready: build/bundle. Install from it with: make env BUNDLE=build/bundle"

# The course --------------------------------------------------------------------------------------

course: env ## run the lessons into build/course (DATASET=path, PROFILE=ci|laptop|gpu, NOTEBOOKS=names, OUTPUT=path)
	@$(VPYTHON) -m nnunet_lib course --output "$$OUTPUT" $${NOTEBOOKS:+--notebooks $$NOTEBOOKS} \
		$${DATASET:+--dataset "$$DATASET"} $${PROFILE:+--profile "$$PROFILE"}

lab: env ## open JupyterLab on the lessons (PORT=8888, BROWSER=no)
	@set --; [ "$(filter no,$(BROWSER))" = "" ] || set -- --no-browser; \
	[ "$$(id -u)" != 0 ] || set -- "$$@" --allow-root; \
	$(VPYTHON) -m jupyterlab --notebook-dir=. --LabApp.default_url=/lab/tree/notebooks --port="$$PORT" "$$@" \
		--LabApp.extension_manager=readonly \
		--MultiKernelManager.default_kernel_name=nnunet-course

# Not in the list of commands: it is for whoever writes lessons, and would take answers away that
# were not run yet.
exercises: env
	@$(VPYTHON) -m nnunet_lib.course.exercises.notebooks exercises/[0-9][0-9]_*

# Against other software ---------------------------------------------------------------------------

PEERS    := .venv-peers
MINUTES  ?= 15

# torch stands in no lock: a build for the processor alone has other hashes than PyPI's, which brings
# CUDA along. So it is installed by its version, from wherever pip finds the build that you want.
$(PEERS)/stamp: $(LOCKS)/peers.txt
	@$(find_python); echo "Making $(PEERS) with nnU-Net, MONAI and torch ..."; \
	"$$python" -m venv $(PEERS); python=$(PEERS)/bin/python; \
	"$$python" -m pip install --quiet --disable-pip-version-check \
		"$$(grep -o 'torch==[0-9.]*' pyproject.toml)"; \
	$(PIP_INSTALL) --no-deps -r $(LOCKS)/peers.txt; touch $@

bench: env $(PEERS)/stamp ## compare results, speed and memory with others into benchmarks/RESULTS.md (ROWS="parity step", DATASET=path)
	@$(VPYTHON) -m benchmarks $(if $(ROWS),--rows $(ROWS)) $${DATASET:+--dataset "$$DATASET"}

bench-accuracy: env $(PEERS)/stamp ## train ours and nnU-Net for the same MINUTES="2 5 15 45" on DATASET=path
	@[ -n "$$DATASET" ] || { echo "Name the scans: make bench-accuracy DATASET=path"; exit 1; } >&2; \
	$(VPYTHON) -m benchmarks.accuracy --dataset "$$DATASET" --minutes $(MINUTES)

# Checks ------------------------------------------------------------------------------------------

# Side by side, because most of it is Python on one core. Coverage is that of the fast tests: it would
# slow the others, which trace many networks, by a third. Tests that call make are not part of this one.
test: env ## run all tests, slow ones too, and report coverage
	@mkdir -p build/coverage
	@$(MAKE) --no-print-directory --keep-going -j2 fast-tests slow-tests

PYTEST = env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL $(VPYTHON) -m pytest

fast-tests:
	@$(PYTEST) --cov --cov-report=term

slow-tests:
	@status=0; $(PYTEST) -m slow --durations=15 >build/slow-tests.log 2>&1 || status=$$?; \
	echo "The slow tests, which began with the others:"; cat build/slow-tests.log; exit $$status

lint: env ## check style, types and layering
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

# Upkeep ------------------------------------------------------------------------------------------

# No machine's own index or constraint may get into a lock.
COMPILE = env -u UV_INDEX -u UV_DEFAULT_INDEX -u UV_INDEX_URL -u UV_EXTRA_INDEX_URL -u UV_FIND_LINKS \
	-u UV_CONSTRAINT -u UV_OVERRIDE uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	--generate-hashes --no-annotate --custom-compile-command "make lock"

# What comes with torch, in whichever build it is installed.
WITH_TORCH := cuda-bindings cuda-pathfinder cuda-toolkit nvidia-cublas nvidia-cuda-cupti nvidia-cuda-nvrtc \
	nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand \
	nvidia-cusolver nvidia-cusparse nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink \
	nvidia-nvshmem-cu13 nvidia-nvtx torch triton

# The lines that pyproject.toml gives for one extra.
define extra
python -c 'import sys, tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; print(*project["optional-dependencies"][sys.argv[1]], sep="\n")'
endef

lock: $(STAMPS)/venv ## renew the locks in requirements/ from pyproject.toml
	@set -e; PATH="$(CURDIR)/$(VENV)/bin:$$PATH"; export PATH; set -x; \
	$(COMPILE) pyproject.toml -o $(LOCKS)/course.txt; \
	$(COMPILE) pyproject.toml --extra lint --extra test -c $(LOCKS)/course.txt -o $(LOCKS)/dev.txt; \
	$(COMPILE) pyproject.toml --extra gpu -c $(LOCKS)/course.txt -o $(LOCKS)/gpu.txt; \
	echo uv | $(COMPILE) - -o $(LOCKS)/uv.txt; \
	printf '%s\n' 'cmake<4' editables hatchling 'setuptools<70' wheel | $(COMPILE) - -c $(LOCKS)/dev.txt -o $(LOCKS)/build.txt; \
	$(extra) peers | $(filter-out --universal,$(COMPILE)) --no-config $(addprefix --no-emit-package ,$(WITH_TORCH)) - -o $(LOCKS)/peers.txt; \
	$(extra) native | $(COMPILE) - -c $(LOCKS)/course.txt -o $(LOCKS)/native.txt

clean: ## remove build/ and what tools keep; .venv and data/ stay
	@rm -rf build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
