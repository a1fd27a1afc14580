"""The command lines: flags, errors in one line, progress."""
