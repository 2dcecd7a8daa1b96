"""The behaviours of what a backend may offer besides: messages, media and files."""

from __future__ import annotations

import wave
from typing import Any, Final
from uuid import uuid4

from umd.backend import Answered, CarriesMedia, ChecksFiles, LegId, Media, ShowsMessages
from umd.testing.contract.base import CLIENT, ContractCase
from umd.testing.contract.behaviour import NotOffered, behaviour
from umd.trace.capture import sip_call_id

PROMPT_SECONDS: Final = 1.0


class OptionRules(ContractCase):
    """`ShowsMessages`, `CarriesMedia` and `ChecksFiles`."""

    @behaviour("messages.named")
    async def test_the_messages_it_shows_have_the_name_of_their_leg(self) -> None:
        """`ShowsMessages`: the Call-ID of a message is the leg's name, so `umd trace` finds it."""
        self._need(ShowsMessages)
        leg = await self._talking()
        await self._hang_up_and_check(leg)
        self.assertTrue(self._messages_of(leg), f"no message with Call-ID {leg} was shown")

    @behaviour("media.counted")
    async def test_the_media_of_a_leg_are_counted(self) -> None:
        """`CarriesMedia`: a leg goes on after its prompt, and its `Ended` counts the packets."""
        self._need(CarriesMedia)
        assert isinstance(self.backend, CarriesMedia)
        leg = LegId(str(uuid4()))
        media = Media(prompt=self._make_prompt(), prompt_s=PROMPT_SECONDS)
        self.backend.place_with_media(leg, self._number("number_that_answers"), media)
        await self._until(lambda: Answered(leg) in self.sink.events)
        for _ in range(10):  # in steps, since each message needs a turn of a Clock
            await self.wait((PROMPT_SECONDS + self.quiet) / 10)
        self.assertEqual(self.sink.ends(leg), [], "a leg goes on after its prompt")
        self.backend.hang_up(leg, CLIENT)
        ended = await self._end_of(leg)
        assert ended.media is not None, "the Ended of a leg with media must have `media`"
        self.assertGreater(ended.media.sent, 0, "the prompt was sent: count its packets")
        self.assertEqual(ended.media.received, 0, "packets that are not recorded do not count")

    @behaviour("files.checked")
    async def test_the_files_of_good_settings_have_no_trouble(self) -> None:
        """`ChecksFiles`: the files of the settings in use are good, and checking raises nothing."""
        self._need(ChecksFiles)
        if not self.backend_type:
            raise NotOffered("the contract names no backend_type, so its settings are not known")
        assert isinstance(self.backend, ChecksFiles)
        settings = self.make_settings(type(self.backend))
        self.assertEqual(list(self.backend.check_files(settings)), [])

    def _messages_of(self, leg: LegId) -> list[Any]:
        return [message for *_, message in self.capture.messages() if sip_call_id(message) == leg]

    def _methods_of(self, leg: LegId) -> list[str]:
        return [getattr(message, "method", "") for message in self._messages_of(leg)]

    def _make_prompt(self) -> str:
        """Write a silent WAV file of `PROMPT_SECONDS`: 8 kHz, mono, 16 bits."""
        path = str(self.mktemp())
        with wave.open(path, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(bytes(int(8000 * PROMPT_SECONDS) * 2))
        return path
