"""The one base of every error that umd raises on purpose."""


class UmdError(Exception):
    """Something umd expects can go wrong; its text names the thing, its state and the way out."""
