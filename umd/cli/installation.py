"""
Writes the files of a first installation: the configuration, the systemd units and a password file.

Each file appears complete or not at all, no existing file is overwritten, and a failure removes the
files that were written before it.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from umd.errors import UmdError

CONFIGURATION: Final = "umd.toml"
PASSWORDS: Final = "passwords"
SERVICE: Final = "umd.service"
SOCKET: Final = "umd.socket"

MAX_PASSWORD_OCTETS: Final = 72
"""bcrypt ignores the rest of a longer password."""

_PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9._/+@-]+")
_USER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")

_CREDENTIAL: Final = """\
# systemd reads the password file, which belongs to root, and passes it to umd. It does so only at a
# start: restart umd after a change of the file. To pass the key of [tls] in the same way, add
# LoadCredential=tls-key:{directory}/key.pem, and -o tls.key=%d/tls-key to the commands.
LoadCredential=passwords:{directory}/passwords
"""


class CannotInstall(UmdError):
    """The files cannot be written; the text says why."""


@dataclass(frozen=True, slots=True)
class Installation:
    """
    The files of an installation, by their names in its directory, before they are written.

    Args:
        directory: an absolute path.
        texts: the text of each file.
    """

    directory: str
    texts: dict[str, str]

    @contextmanager
    def written(self) -> Iterator[Sequence[str]]:
        """
        Write the files, and remove them again if the body raises.

        Yields:
            The paths of the files.

        Raises:
            CannotInstall: a file exists already, or one cannot be written; then none is there.
        """
        made: list[str] = []
        made_directory = False
        try:
            try:
                existing = [path for path in self.paths if os.path.lexists(path)]
                if existing:
                    raise CannotInstall(f"{existing[0]} exists already; nothing was written")
                made_directory = _make_directory(self.directory)
                for path in self.paths:
                    _write_new(path, self.texts[os.path.basename(path)])
                    made.append(path)
                _sync_directory(self.directory)
            except OSError as error:
                where = error.filename or self.directory
                raise CannotInstall(f"{where}: {error.strerror}; nothing was written") from error
            yield made
        except BaseException:
            for path in made:
                with suppress(OSError):
                    os.unlink(path)
            if made_directory:
                with suppress(OSError):
                    os.rmdir(self.directory)
            raise

    @property
    def paths(self) -> list[str]:
        """The paths of the files."""
        return [os.path.join(self.directory, name) for name in self.texts]


def plan_installation(directory: str, user: str, password: str, command: str) -> Installation:
    """
    Make the texts of all files.

    Args:
        directory: where the files will be; made absolute.
        user: the name of the first user.
        password: of that user; its hash goes to the password file.
        command: runs umd, as in a shell; for the units.

    Raises:
        CannotInstall: the directory or the user has characters that need quoting in a file, or
            the password is empty or too long for bcrypt.
    """
    path = os.path.abspath(directory)
    if not _PLAIN_PATH.fullmatch(path):
        why = "has a character other than letters, digits and ._/+@-, which systemd would quote"
        raise CannotInstall(f"{path!r} {why}")
    if not _USER_NAME.fullmatch(user):
        why = "is not a user name of letters, digits and ._@-, beginning with a letter or digit"
        raise CannotInstall(f"{user!r} {why}")
    octets = password.encode(errors="surrogateescape")
    if not 0 < len(octets) <= MAX_PASSWORD_OCTETS:
        raise CannotInstall(f"a password has 1 to {MAX_PASSWORD_OCTETS} octets")
    configuration = _template(CONFIGURATION).replace("@DIRECTORY@", path)
    return Installation(
        path,
        {
            CONFIGURATION: configuration.replace("@USER@", f'"{user}"'),
            PASSWORDS: f"{user}:{_hash(octets)}\n",
            SERVICE: service_unit(path, command),
            SOCKET: _template(SOCKET),
        },
    )


def service_unit(directory: str, command: str) -> str:
    """
    Return the unit of the service for a configuration in `directory`.

    Args:
        directory: an absolute path without characters that systemd would quote.
        command: runs umd.
    """
    lines = []
    for line in _template(SERVICE).splitlines(keepends=True):
        if line == "DynamicUser=yes\n":
            lines.append(_CREDENTIAL.format(directory=directory))
        if "/etc/umd/umd.toml" in line:
            line = line.rstrip("\n") + f" -o auth.password_file=%d/{PASSWORDS}\n"
        line = line.replace("/etc/umd/umd.toml", f"{directory}/{CONFIGURATION}")
        lines.append(line.replace("/opt/umd/bin/umd", command))
    return "".join(lines)


def umd_command() -> str:
    """Return the command that runs this umd, as a systemd unit writes it."""
    program = os.path.abspath(sys.argv[0])
    if os.path.basename(program) == "umd" and os.access(program, os.X_OK):
        return _quoted(program)
    return f"{_quoted(sys.executable)} -m umd"


def _template(name: str) -> str:
    return (files("umd.cli") / "templates" / name).read_text()


def _hash(password: bytes) -> str:
    """Return a bcrypt hash as `htpasswd -B` writes it."""
    import bcrypt

    # $2y$ is what htpasswd calls the algorithm that the library calls $2b$.
    return bcrypt.hashpw(password, bcrypt.gensalt()).decode().replace("$2b$", "$2y$", 1)


def _quoted(path: str) -> str:
    """Quote a path for the command line of a unit (systemd.service(5))."""
    path = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return path if _PLAIN_PATH.fullmatch(path) else f'"{path}"'


def _make_directory(path: str) -> bool:
    """Make a directory that every user can read, and return whether it is new."""
    try:
        os.mkdir(path)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
        return False
    os.chmod(path, 0o755)
    return True


def _write_new(path: str, text: str) -> None:
    """
    Write a new file durably; fail if it exists.

    A temporary file gets the text, and `link` gives it its name, because `link` never overwrites.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=".umd-init-", dir=os.path.dirname(path))
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            # mkstemp gives 0600, which the password file keeps.
            if os.path.basename(path) != PASSWORDS:
                os.fchmod(file.fileno(), 0o644)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    finally:
        os.unlink(temporary)


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
