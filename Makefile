# Everything a newcomer types. The first use of a target makes .venv and installs what it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Processes that share the tests, of about 2 GiB each.
WORKERS ?= 2

.PHONY: train test test-slow lint check bench clean

train: $(VENV)/.installed
	$(BIN)/python train.py --dataset=digits --method=acet --overwrite
	$(BIN)/python -m export --run_dir=runs/digits-acet

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=worksteal

test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Build the wheel, install it in an environment of its own, and run there what a checkout could hide: commands, recipes,
# templates, clients, the objects of examples/extending, doctests.
check: $(VENV)/.installed-test
	rm -rf build dist $(VENV)-wheel $(VENV)-check
	$(BIN)/python -m build --wheel
	$(PYTHON) -m venv $(VENV)-wheel
	$(VENV)-wheel/bin/python -m pip install --quiet --disable-pip-version-check "$$(echo dist/*.whl)[test]"
	mkdir $(VENV)-check  # all but the package
	cp -r tests examples README.md pyproject.toml $(VENV)-check
	cd $(VENV)-check && ../$(VENV)-wheel/bin/python -P -c \
		"import keras_acet; assert 'site-packages' in keras_acet.__file__, keras_acet.__file__"
	cd $(VENV)-check && ../$(VENV)-wheel/bin/python -P -m pytest -p no:cacheprovider -m installed tests/installed
	cd $(VENV)-check && ../$(VENV)-wheel/bin/python -P -m pytest -p no:cacheprovider --pyargs keras_acet

bench: $(VENV)/.installed-test
	$(BIN)/python benchmarks/train_step.py

$(VENV)/.installed: setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[test]"
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-wheel $(VENV)-check build dist *.egg-info runs
