"""The command `umd`, and `python -m umd`: first the signals, then the streams, then the rest."""

import sys

from umd.runtime import signals


def main() -> None:
    """Run the command line of this process."""
    signals.arrange(sys.argv[1] if len(sys.argv) > 1 else "")
    from umd.runtime import streams

    streams.arrange()
    from umd.cli.main import main as command_line

    try:
        command_line()
    finally:
        signals.ignore_all()  # the exit status is decided


if __name__ == "__main__":
    main()
