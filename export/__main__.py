"""Exports a trained run: `python -m export --help`."""

from keras_acet.cli import commands, export

if __name__ == "__main__":
    commands.run(export)
