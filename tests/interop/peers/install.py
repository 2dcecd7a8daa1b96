"""Installs the peers: packages of Debian, and Asterisk in a directory of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

HOW: Final = "python -m tests.interop.peers install"
PACKAGES: Final = {
    "sipp": "sip-tester",
    "kamailio": "kamailio",
    "baresip": "baresip-core",
    "debootstrap": "debootstrap",
}
"""The package of each program."""
BOOTSTRAP: Final = Path(__file__).parent / "asterisk" / "bootstrap"


def asterisk_root() -> Path:
    """Return the directory of Asterisk, in `$UMD_PEERS` or by default in `~/.cache/umd-peers`."""
    base = os.environ.get("UMD_PEERS") or Path.home() / ".cache" / "umd-peers"
    return Path(base) / "asterisk"


def has_asterisk() -> bool:
    """Return whether the installation of Asterisk is complete."""
    return (asterisk_root() / ".bootstrap-complete").exists()


def install() -> None:
    """
    Install the missing peers; needs root and Debian's apt.

    Raises:
        subprocess.CalledProcessError: a command failed; its output has the reason.
    """
    missing = [package for name, package in PACKAGES.items() if not shutil.which(name)]
    if not Path("/usr/share/keyrings/debian-archive-keyring.gpg").exists():
        missing.append("debian-archive-keyring")
    if missing:
        environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        get = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"]
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run([*get, *missing], check=True, env=environ)
    subprocess.run(["bash", str(BOOTSTRAP), str(asterisk_root())], check=True)
