"""No flaw in what a message does not need costs a call; `tests.sip.robust` tells all modes."""

from __future__ import annotations

import umd.sip.endpoint
from tests.lab.planting import PlantingCase
from tests.sip.robust import KINDS, MODES, cases, run, tell
from umd.sip.message import Response


class RobustTests(PlantingCase):
    def test_every_flaw(self) -> None:
        """Each in each field of each kind of message: the call ends as it ends without."""
        figures = run(every_mode=False)
        print(f"{figures['combinations']} combinations, {figures['failed']} failed")
        self.assertGreaterEqual(figures["combinations"], 2000)
        self.assertEqual(figures["failed"], 0, "\n".join(figures["first"]))

    def test_the_stories(self) -> None:
        """Without a flaw each has the messages that it is about, in every mode."""
        for kind in KINDS:
            told = [tell(kind, None, mode) for mode in MODES[:2]]
            self.assertEqual(told[0], told[1])
            self.assertEqual(told[0].left[0], "INVITE 192.0.2.2:5060")
            self.assertEqual(told[0].events[-1][0], "Ended")

    def test_an_intolerant_reader_is_found(self) -> None:
        """What drops a response for a doubled field, as umd once did, fails here."""
        self.patch(umd.sip.endpoint, "check_response", _refuse_repeated)
        (kind,) = (kind for kind in KINDS if kind.name == "200 BYE")
        (case,) = (
            case
            for case in cases()
            if (case.kind, case.field, case.flaw) == (kind, "Server", "doubled")
        )
        for mode in MODES:
            self.assertNotEqual(tell(kind, case, mode), tell(kind, None, mode))


def _refuse_repeated(response: Response) -> str | None:
    return "repeated" if len(response.all("Server")) > 1 else None
