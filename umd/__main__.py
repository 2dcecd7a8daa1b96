"""`python -m umd` is `umd`."""

from umd.cli import main

main()
