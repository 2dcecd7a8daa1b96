"""The commands of `umd`."""
