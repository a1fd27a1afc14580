"""Evaluates trained runs side by side: `python evaluate.py --help`."""

import sys

from keras_acet.cli import evaluate

if __name__ == "__main__":
    sys.exit(evaluate.main())
