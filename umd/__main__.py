"""The command `umd`, and `python -m umd`: sets up signals, then streams, then runs the command."""

import sys

from umd.runtime import signals


def main() -> None:
    """Run the command line of this process."""
    signals.set_initial_handlers(sys.argv[1] if len(sys.argv) > 1 else "")
    from umd.runtime import streams

    streams.protect()
    from umd.cli.main import main as run_command_line

    try:
        run_command_line()
    finally:
        signals.ignore_all()  # the exit status is decided


if __name__ == "__main__":
    main()
