"""`umd check-config --files` checks every file that a configuration names, and changes none."""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
import wave
from contextlib import closing
from pathlib import Path
from typing import Any, Iterator, get_args, get_type_hints

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon.processes import umd
from tests.http.helpers import Authority
from umd.config import ConfigError, Section, Settings, load
from umd.config.values import FilePath
from umd.daemon.checks import check_files
from umd.journal.file import JournalFile
from umd.messaging.users import SCHEMA_VERSION


def snapshot(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Return time of change, size and mode of every file below a folder, by its path."""
    return {
        str(path): (stat.st_mtime_ns, stat.st_size, stat.st_mode)
        for path in [folder, *folder.rglob("*")]
        if (stat := path.lstat())
    }


class FilesCase(SynchronousTestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="umd-test-")
        self.addCleanup(directory.cleanup)
        self.folder = Path(directory.name)
        self.file = self.folder / "umd.toml"
        self.patch(os, "environ", {**os.environ, "XDG_RUNTIME_DIR": str(self.folder)})

    def check(self, text: str, *overrides: str) -> list[str]:
        """Return the mistakes of a configuration; HERE stands for the folder of the test."""
        self.file.write_text(text.replace("HERE", str(self.folder)))
        here = str(self.folder)
        settings = load(str(self.file), [override.replace("HERE", here) for override in overrides])
        before = snapshot(self.folder)
        lines: list[str] = []
        self.warnings: list[str] = []
        try:
            self.warnings = [line.replace(here, "HERE") for line in check_files(settings)]
        except ConfigError as error:
            lines = [line.replace(here, "HERE") for line in error.mistakes]
        self.assertEqual(snapshot(self.folder), before)
        return lines

    def make(self, name: str, content: bytes = b"x") -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    def tone(self, name: str, rate: int = 8000) -> None:
        with wave.open(str(self.make(name)), "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(rate)
            sound.writeframes(b"\0" * 320)


class GoodTests(FilesCase):
    def test_the_defaults_need_no_file(self) -> None:
        self.assertEqual(self.check(""), [])

    def test_everything_at_once(self) -> None:
        self.make("passwords", b"# nobody yet\n")
        self.make("secret", b"x" * 32)
        self.make("pbx", b"secret\n")
        self.tone("prompts/AAAA.wav")
        self.tone("prompts/greetings.wav")
        for name in ("spool", "run", "data"):
            (self.folder / name).mkdir(mode=0o700)
        text = """
            [http]
            listen = "unix:HERE/run/http.sock"
            [auth]
            password_file = "HERE/passwords"
            [auth.token]
            algorithms = ["HS256"]
            issuer = "https://login.example.com"
            key_file = "HERE/secret"
            [prompts]
            folder = "HERE/prompts"
            default = "HERE/prompts/AAAA.wav"
            [users]
            store = "HERE/data/users.sqlite"
            [pin]
            spool = "HERE/spool"
            delivery = "spool"
            [control]
            socket = "HERE/run/control.sock"
            [journal]
            path = "HERE/data/journal.db"
            [backend.pbx]
            type = "sip"
            peer = "udp:127.0.0.1:5060"
            username = "umd"
            password_file = "HERE/pbx"
        """
        self.assertEqual(self.check(text), [])

    def test_beside_a_running_umd(self) -> None:
        """The running umd has locked the journal and has opened the control socket."""
        path = str(self.folder / "journal.db")
        journal = JournalFile(path, "full", 60.0, 1 << 30)
        journal.open()
        with closing(journal):
            self.assertEqual(self.check("", "journal.path=HERE/journal.db"), [])

    def test_a_damaged_journal_is_no_mistake(self) -> None:
        """A start renames it and begins a new one."""
        self.make("journal.db", b"\0" * 4096)
        self.make("journal.db.lock", b"")
        self.assertEqual(self.check("", "journal.path=HERE/journal.db"), [])


class WrongTests(FilesCase):
    """Each message has the line of the key, and the reason that a start would give."""

    def cases(self) -> Iterator[tuple[str, list[str]]]:
        """Yield an override and the end of each message that it causes."""
        missing = "No such file or directory"
        self.make("empty", b"")
        self.make("latin", b"caf\xe9\n")
        self.make("hashless", b"alice:secret\n")
        self.make("short", b"RIFF")
        self.make("file")
        os.mkfifo(self.folder / "fifo")
        (self.folder / "open").mkdir()
        (self.folder / "open").chmod(0o777)
        with closing(sqlite3.connect(self.folder / "foreign.db")) as database:
            database.execute("PRAGMA application_id = 7")
            database.execute("CREATE TABLE a (b)")
        with closing(sqlite3.connect(self.folder / "newer.db")) as database:
            database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 99}")
            database.execute("CREATE TABLE a (b)")
        foreign = "another program's file; name another path, or move that file away"

        yield "auth.password_file = HERE/none", [missing]
        yield "auth.password_file = HERE/fifo", ["not a regular file"]
        yield "auth.password_file = HERE/open", ["not a regular file"]
        yield "auth.password_file = HERE/latin", ["not UTF-8"]
        yield "auth.password_file = HERE/hashless", [
            "HERE/hashless:1: expected NAME:HASH with a complete argon2 or bcrypt hash"
        ]
        yield "prompts.folder = HERE/none", ["there is no such folder"]
        yield "prompts.folder = HERE/file", ["not a folder"]
        yield "prompts.default = HERE/none", ["prompt none cannot be read: "]
        yield "prompts.default = HERE/short", ["prompt short cannot be read: "]
        yield "users.store = HERE/none/users.db", ["its folder: there is no such folder"]
        yield "users.store = HERE/file", [foreign]
        newer = f"a newer umd has written it (version {SCHEMA_VERSION + 99})"
        yield "users.store = HERE/newer.db", [newer]
        yield "users.store = HERE/open", ["not a regular file"]
        yield "control.socket = HERE/none/more/c.sock", ["HERE/none: there is no such folder"]
        yield "control.socket = HERE/file", ["the file there is not a socket; name another"]
        yield "control.socket = HERE/open/c.sock", ["others can write to HERE/open, and could put"]
        yield "journal.path = HERE/none/journal.db", ["its folder: there is no such folder"]
        yield "journal.path = HERE/foreign.db", [foreign]
        yield "journal.path = HERE/newer.db", [newer]
        yield "journal.path = HERE/file", [foreign]
        yield "journal.path = HERE/fifo", ["not a regular file"]
        yield "http.listen = unix:HERE/none/http.sock", ["HERE/none: there is no such folder"]
        yield "http.listen = unix:HERE/file", ["the file there is not a socket"]

    def test_each_unusable_file_or_folder(self) -> None:
        for case, ends in self.cases():
            key, _, value = case.partition(" = ")
            section, _, name = key.rpartition(".")
            text = f'# a comment\n[{section}]\n{name} = "{value}"\n'
            lines = self.check(text)
            self.assertEqual(len(lines), len(ends), (case, lines))
            for line, end in zip(lines, ends, strict=True):
                self.assertTrue(line.startswith(f'HERE/umd.toml:3: {key} = "{value}": '), line)
                self.assertIn(end, line)

    def test_files_that_need_several_keys(self) -> None:
        self.make("empty", b"")
        for text, line in (
            (
                '[pin]\nspool = "HERE/none"\ndelivery = "spool"\n',
                'HERE/umd.toml:2: pin.spool = "HERE/none": there is no such folder',
            ),
            (
                '[auth.token]\nissuer = "x"\nkey_file = "HERE/none"\n',
                'HERE/umd.toml:3: auth.token.key_file = "HERE/none": No such file or directory',
            ),
            (
                '[auth.token]\nissuer = "x"\nkey_file = "/run/credentials/umd.service/key"\n',
                'HERE/umd.toml:3: auth.token.key_file = "/run/credentials/umd.service/key": No '
                "such file or directory; systemd puts credentials there only for the commands of "
                "their unit",
            ),
            (
                '[backend.a]\ntype = "sip"\npeer = "udp:127.0.0.1:5060"\nusername = "x"\n'
                'password_file = "HERE/empty"\n',
                'HERE/umd.toml:5: backend.a.password_file = "HERE/empty": its first line is empty',
            ),
        ):
            self.assertEqual(self.check(text), [line])

    def test_files_named_on_the_command_line(self) -> None:
        self.assertEqual(
            self.check("", "auth.password_file=HERE/none"),
            ['-o auth.password_file=HERE/none: auth.password_file = "HERE/none": No such file or '
             "directory"],
        )  # fmt: skip

    def test_every_unusable_file_is_reported(self) -> None:
        """One mistake does not hide another one."""
        lines = self.check(
            '[auth]\npassword_file = "HERE/1"\n[prompts]\nfolder = "HERE/2"\n'
            '[journal]\npath = "HERE/3/4"\n'
        )
        self.assertEqual([line.split()[1] for line in lines],
                         ["auth.password_file", "prompts.folder", "journal.path"])  # fmt: skip

    def test_folders_without_write_permission(self) -> None:
        """The permissions are simulated, as root may write everywhere."""
        self.patch(os, "access", lambda path, mode, **_: not mode & os.W_OK)
        for key in ("journal.path", "users.store", "control.socket"):
            lines = self.check("", f"{key}=HERE/file")
            (line,) = [line for line in lines if f" {key} = " in line]
            self.assertIn("may not write to it", line)

    def test_every_key_that_names_a_file_is_checked(self) -> None:
        """Each new key of this kind needs a check in `umd.daemon.checks`."""
        beside = {
            "tls.certificate": ['http.listen_tls="tcp:0:interface=127.0.0.1"', "tls.key=/no/key"],
            "tls.key": ['http.listen_tls="tcp:0:interface=127.0.0.1"', "tls.certificate=/no/file"],
            "auth.token.key_file": ["auth.token.issuer=x"],
            "pin.spool": ["pin.delivery=spool"],
        }
        beside["tls.client_ca"] = [*beside["tls.key"], "tls.key=/no/key"]
        keys = set(file_keys(Settings))
        self.assertLessEqual(beside.keys(), keys)
        for key in keys | {"journal.path", "control.socket"}:
            lines = self.check("", *beside.get(key, []), f"{key}=/no/such/thing")
            self.assertTrue([line for line in lines if f"-o {key}=/no/such/thing: " in line], key)


class WarningTests(FilesCase):
    """Problems with which umd starts all the same, such as one bad prompt."""

    def warnings_about(self, text: str, *overrides: str) -> list[str]:
        self.assertEqual(self.check(text, *overrides), [])
        return self.warnings

    def test_prompts_that_cannot_be_played(self) -> None:
        self.tone("odd/AAAA.wav", rate=44100)
        self.tone("odd/BBBB.wav")
        self.make("odd/greetings/OofCustom-alice.wav")
        os.mkfifo(self.folder / "odd/CCCC.wav")
        lines = self.warnings_about('[prompts]\nfolder = "HERE/odd"\n')
        for line, end in zip(
            lines,
            (
                "prompt AAAA.wav is not of 8 kHz, mono, 16 bits",
                "prompt CCCC.wav is not a regular file",
                "prompt OofCustom-alice.wav cannot be read: ",
            ),
            strict=True,
        ):
            self.assertIn(f'HERE/umd.toml:2: prompts.folder = "HERE/odd": {end}', line)

    def test_many_bad_prompts(self) -> None:
        for number in range(150):
            self.make(f"prompts/{number}.wav")
        lines = self.warnings_about('[prompts]\nfolder = "HERE/prompts"\n')
        self.assertEqual((len(lines), lines[-1]), (101, "and 50 more like these"))

    def test_a_disk_without_room(self) -> None:
        full = os.statvfs_result((4096, 4096, 1000, 100, 100, 0, 0, 0, 0, 255))
        self.patch(os, "statvfs", lambda path: full)
        (line,) = self.warnings_about("", "journal.path=HERE/journal.db")
        self.assertTrue(line.endswith("only 0 MiB are free on its disk"), line)

    def test_a_certificate_that_has_expired(self) -> None:
        Authority("ours").write("localhost", self.folder / "tls", days=(-2, -1))
        text = (
            '[http]\nlisten_tls = "tcp:0:interface=127.0.0.1"\n[tls]\n'
            'certificate = "HERE/tls/certificate.pem"\nkey = "HERE/tls/key.pem"\n'
        )
        (line,) = self.warnings_about(text)
        self.assertIn('HERE/umd.toml:4: tls.certificate = "HERE/tls/certificate.pem": ', line)
        self.assertIn("expired", line)
        ran = umd("check-config", "--files", str(self.file))
        self.assertEqual(ran.returncode, 0)
        self.assertIn("expired", ran.stderr)
        ran = umd("check-config", "--files", "--json", str(self.file))
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))
        self.assertIn("expired", json.loads(ran.stdout)["warnings"][0])


def file_keys(model: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted name of every key of the type `FilePath`."""
    hints = get_type_hints(model, include_extras=True)
    for name, hint in hints.items():
        for kind in (hint, *get_args(hint)):
            if isinstance(kind, type) and issubclass(kind, Section):
                yield from file_keys(kind, f"{prefix}{name}.")
            elif kind == FilePath:
                yield f"{prefix}{name}"
