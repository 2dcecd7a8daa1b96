"""The command line of `tests.interop.peers`."""

from __future__ import annotations

import subprocess
import sys

from tests.interop.peers.install import HOW, install

if __name__ == "__main__":
    if sys.argv[1:] != ["install"]:
        sys.exit(f"usage: {HOW}")
    try:
        install()
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"{error}\nIt takes root and a Debian with apt.")
