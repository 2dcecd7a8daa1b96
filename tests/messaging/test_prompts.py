"""Entry ids and greetings find their files, and none outside the folder."""

from __future__ import annotations

import base64
import wave
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from umd.messaging.prompts import TONE, NoSuchPrompt, Prompts, name_of_entry


def write_wav(path: Path, seconds: float = 1.0, rate: int = 8000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(bytes(2 * int(rate * seconds)))


class PromptTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.prompts = Prompts(str(self.folder), None)

    def test_the_file_of_an_entry(self) -> None:
        entry = base64.b64encode(b"\xfb\xff\xfe?").decode()
        self.assertEqual(entry, "+//+Pw==")
        self.assertEqual(name_of_entry(entry), "-__-Pw")
        write_wav(self.folder / "-__-Pw.wav", 1.5)
        prompt = self.prompts.of_entry(entry)
        self.assertEqual((prompt.path, prompt.duration), (str(self.folder / "-__-Pw.wav"), 1.5))

    def test_a_long_entry_has_a_short_name(self) -> None:
        name = name_of_entry(base64.b64encode(bytes(400)).decode())
        self.assertEqual(len(name), 64)

    def test_a_malformed_entry_id(self) -> None:
        for entry in ("", "A", "../x", "AA=", "AAAA\n", "\u00e4", "A" * 5000, "===="):
            with self.assertRaises(NoSuchPrompt, msg=entry):
                name_of_entry(entry)

    def test_an_unknown_entry_gets_the_default(self) -> None:
        with self.assertRaisesRegex(NoSuchPrompt, "AAAA.wav"):
            self.prompts.of_entry("AAAA")
        self.assertEqual(Prompts(str(self.folder)).of_entry("AAAA").path, TONE)
        self.assertEqual(Prompts().of_entry("AAAA").duration, 0.5)

    def test_a_file_that_cannot_be_played(self) -> None:
        write_wav(self.folder / "AAAA.wav", rate=44100)
        with self.assertRaisesRegex(NoSuchPrompt, "8 kHz"):
            self.prompts.of_entry("AAAA")
        (self.folder / "AAAA.wav").write_bytes(b"RIFF")
        with self.assertRaisesRegex(NoSuchPrompt, "AAAA.wav"):
            self.prompts.of_entry("AAAA")
        (self.folder / "AAAA.wav").unlink()
        (self.folder / "AAAA.wav").mkdir()
        with self.assertRaises(NoSuchPrompt):
            self.prompts.of_entry("AAAA")

    def test_greetings(self) -> None:
        self.assertEqual(self.prompts.greeting("alice", "OofCustom").path, TONE)
        write_wav(self.folder / "greetings" / "OofCustom-alice.wav", 2.0)
        self.assertEqual(self.prompts.greeting("alice", "OofCustom").duration, 2.0)
        self.assertIsNone(Prompts().greeting_path("alice", "OofCustom"))

    def test_no_user_s_greeting_is_outside_the_folder(self) -> None:
        for user in ("../../etc/passwd", "/x", "a\0b", "..", "x" * 5000, "\u00e4"):
            path = self.prompts.greeting_path(user, "OofCustom")
            assert path is not None
            self.assertEqual(path.parent, self.folder / "greetings")
            self.assertNotIn("\0", str(path))
            self.assertLess(len(path.name), 256)

    def test_each_user_has_a_greeting_of_their_own(self) -> None:
        long = "\u0430" * 100
        paths = {self.prompts.greeting_path(long + end, "OofCustom") for end in ("1", "2", "3")}
        self.assertEqual(len(paths), 3)
