"""No flaw in an unneeded field changes a call; `tests.sip.robust` runs all modes."""

from __future__ import annotations

import umd.sip.endpoint
from tests.lab.planting import PlantingCase
from tests.sip.robust import KINDS, MODES, cases, run, run_call
from umd.sip.message import Response


class RobustTests(PlantingCase):
    def test_every_flaw(self) -> None:
        """A call with any flaw in any field of any message ends as it does without it."""
        figures = run(every_mode=False)
        print(f"{figures['combinations']} combinations, {figures['failed']} failed")
        self.assertGreaterEqual(figures["combinations"], 2000)
        self.assertEqual(figures["failed"], 0, "\n".join(figures["first"]))

    def test_the_stories(self) -> None:
        """Without a flaw, each call has the expected messages in every mode."""
        for kind in KINDS:
            results = [run_call(kind, None, mode) for mode in MODES[:2]]
            self.assertEqual(results[0], results[1])
            self.assertEqual(results[0].left[0], "INVITE 192.0.2.2:5060")
            self.assertEqual(results[0].events[-1][0], "Ended")

    def test_an_intolerant_reader_is_found(self) -> None:
        """A core that drops a response for a repeated field is found."""
        self.patch(umd.sip.endpoint, "check_response", _refuse_repeated)
        (kind,) = (kind for kind in KINDS if kind.name == "200 BYE")
        (case,) = (
            case
            for case in cases()
            if (case.kind, case.field, case.flaw) == (kind, "Server", "doubled")
        )
        for mode in MODES:
            self.assertNotEqual(run_call(kind, case, mode), run_call(kind, None, mode))


def _refuse_repeated(response: Response) -> str | None:
    return "repeated" if len(response.all("Server")) > 1 else None
