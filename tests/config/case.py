"""Loads a configuration from text, for the tests of this room."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from umd.config import ConfigError, Settings, load


class ConfigCase(SynchronousTestCase):
    def read(self, text: str, *overrides: str) -> Settings:
        self.file = self.mktemp()
        Path(self.file).write_text(text)
        return load(self.file, overrides)

    def read_octets(self, octets: bytes) -> Settings:
        self.file = self.mktemp()
        Path(self.file).write_bytes(octets)
        return load(self.file)

    def mistakes(self, text: str, *overrides: str) -> list[str]:
        with self.assertRaises(ConfigError) as caught:
            self.read(text, *overrides)
        return [line.replace(self.file, "umd.toml") for line in caught.exception.mistakes]
