"""Exports a trained run: `python -m export --help`."""

import sys

from keras_acet.cli import export

if __name__ == "__main__":
    sys.exit(export.main())
