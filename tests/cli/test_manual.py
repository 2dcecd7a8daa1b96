"""The manual page is current and complete, and the shell completes commands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.test_commands import commands
from tests.helpers import missing
from umd.cli.manual import manual_page

PAGE = Path(__file__).parents[2] / "docs" / "umd.1"


class ManualTests(SynchronousTestCase):
    def test_the_page_is_current(self) -> None:
        """To make it again: python -m umd.cli.manual > docs/umd.1"""
        self.assertEqual(PAGE.read_text(), manual_page())

    def test_every_command_has_a_section(self) -> None:
        page = manual_page().replace("\\-", "-")
        for words in commands():
            self.assertIn(f".SS umd {' '.join(words)}\n", page)

    def test_man_accepts_it_without_a_warning(self) -> None:
        if shutil.which("man") is None:
            missing("man: apt-get install man-db")
        ran = subprocess.run(
            ["man", "-l", "--warnings", str(PAGE)],
            capture_output=True,
            text=True,
            env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80"},
        )
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))
        self.assertIn("umd call end [OPTIONS] CALL", ran.stdout)


class CompletionTests(SynchronousTestCase):
    """The lines of docs/commands.md for bash, with a program `umd` on the PATH."""

    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        program = folder / "umd"
        program.write_text(
            f"#!{sys.executable}\nimport sys\nfrom umd.__main__ import main\nsys.exit(main())\n"
        )
        program.chmod(0o755)
        self.environ = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}

    def complete(self, *words: str) -> list[str]:
        """Return what bash offers for the last word."""
        script = (
            'eval "$(_UMD_COMPLETE=bash_source umd)"\n'
            'COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))\n'
            '_umd_completion umd "$(eval echo "\\${$#}")"\n'
            'printf "%s\\n" "${COMPREPLY[@]}"\n'
        )
        command = ["bash", "-c", script, "bash", *words]
        ran = subprocess.run(command, capture_output=True, text=True, env=self.environ)
        self.assertEqual(ran.stderr, "")
        return ran.stdout.split()

    def test_commands_and_options(self) -> None:
        self.assertEqual(self.complete("umd", "ca"), ["call", "calls"])
        self.assertEqual(self.complete("umd", "call", ""), ["end", "forget", "place"])
        self.assertIn("--follow", self.complete("umd", "events", "--"))

    def test_the_page_has_the_line(self) -> None:
        page = (PAGE.parent / "commands.md").read_text()
        self.assertIn('eval "$(_UMD_COMPLETE=bash_source umd)"', page)

    def test_file_names_are_left_to_the_shell(self) -> None:
        environ = {**self.environ, "_UMD_COMPLETE": "bash_complete",
                   "COMP_WORDS": "umd check-config co", "COMP_CWORD": "2"}  # fmt: skip
        ran = subprocess.run(["umd"], capture_output=True, text=True, env=environ)
        self.assertEqual(ran.stdout, "file,co\n")
