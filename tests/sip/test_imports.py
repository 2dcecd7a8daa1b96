"""The SIP core imports no Twisted, no clock, no random numbers and no files."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import umd.sip

PACKAGE = Path(umd.sip.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.stem != "__init__")
MODULES = [".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in FILES]
EDGES = ("twisted", "zope", "lxml", "structlog", "pydantic")
OUTSIDE = frozenset(
    ("asyncio", "datetime", "io", "os", "pathlib", "random", "secrets", "socket", "time", "uuid")
)


class ImportTests(SynchronousTestCase):
    def test_fresh_interpreter(self) -> None:
        """Importing the whole core loads no Twisted and no other library for I/O."""
        code = (
            "import importlib, sys\n"
            f"for name in {MODULES!r}: importlib.import_module('umd.sip.' + name)\n"
            f"print([name for name in {EDGES!r} if name in sys.modules])\n"
        )
        found = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=PACKAGE.parent.parent,
        )
        self.assertEqual(found.stdout.strip(), "[]")

    def test_nothing_from_outside(self) -> None:
        """No module of the core imports a clock, random numbers, or I/O."""
        for path in FILES:
            tree = ast.parse(path.read_text("utf-8"))
            imported = {
                alias.name.partition(".")[0]
                for node in ast.walk(tree)
                if isinstance(node, ast.Import)
                for alias in node.names
            } | {
                (node.module or "").partition(".")[0]
                for node in ast.walk(tree)
                if isinstance(node, ast.ImportFrom)
            }
            self.assertEqual(imported & (OUTSIDE | set(EDGES)), set(), path.name)
