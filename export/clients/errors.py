"""The error of the clients; they import nothing of keras_acet, so that they can be copied elsewhere."""


class UserError(Exception):
    """Something only the user can mend."""
