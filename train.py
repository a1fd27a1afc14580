"""Trains an image classifier that knows when it does not know: `python train.py --help`."""

import sys

from keras_acet.cli import train

if __name__ == "__main__":
    sys.exit(train.main())
