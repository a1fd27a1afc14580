"""Evaluates trained runs side by side: `python evaluate.py --help`."""

from keras_acet.cli import commands, evaluate

if __name__ == "__main__":
    commands.run(evaluate)
