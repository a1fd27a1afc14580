"""Trains an image classifier that knows when it does not know: `python train.py --help`."""

from keras_acet.cli import commands, train

if __name__ == "__main__":
    commands.run(train)
