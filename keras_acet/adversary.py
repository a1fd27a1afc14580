"""Deprecated names: the penalties are in `keras_acet.penalties`."""

from keras_acet.penalties.deprecated import Adversary, PersistentAdversary

__all__ = ["Adversary", "PersistentAdversary"]
