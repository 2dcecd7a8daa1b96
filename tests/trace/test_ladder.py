"""The ladder of a call as text."""

from __future__ import annotations

import json
from typing import Any

import click
from twisted.trial.unittest import SynchronousTestCase

from umd.trace.ladder import LadderStep, draw, printable

UMD, FAR_END = "umd.sim:5060", "far.sim:5060"


def step(
    kind: str, at: float = 0.0, source: str = UMD, target: str = FAR_END, **more: Any
) -> LadderStep:
    status, _, reason = kind.partition(" ")
    is_response = status.isdecimal()
    fields: dict[str, Any] = {
        "at": 1_000_000.0 + at,
        "source": source,
        "target": target,
        "transport": "UDP",
        "sip_call_id": "call-1",
        "start_line": kind,
        "method": None if is_response else kind,
        "status": int(status) if is_response else None,
        "reason": reason,
        "cseq": "1 INVITE" if is_response else f"1 {kind}",
        "branch": "z9hG4bK1",
        "sdp": False,
    }
    return LadderStep(**{**fields, **more})


def back(kind: str, at: float, **more: Any) -> LadderStep:
    return step(kind, at, FAR_END, UMD, **more)


CALL = [
    step("INVITE", sdp=True),
    back("180 Ringing", 0.002),
    back("200 OK", 1.0, sdp=True),
    step("ACK", 1.0005),
    step("BYE", 12.345),
    step("BYE", 12.845, retransmission=1),
    back("200 OK", 12.8461, cseq="2 BYE"),
]


class LadderTests(SynchronousTestCase):
    maxDiff = None

    def test_a_call(self) -> None:
        self.assertEqual(
            draw(CALL),
            [
                "         umd.sim:5060                          far.sim:5060",
                "    0.000      |----------- INVITE (SDP) ----------->|",
                "    0.002      |<------- 180 Ringing (INVITE) -------|",
                "    1.000      |<------- 200 OK (INVITE, SDP) -------|",
                "    1.000      |--------------- ACK ---------------->|",
                "   12.345      |--------------- BYE ---------------->|",
                "   12.845      |--------------- BYE ---------------->|  retransmission 1",
                "   12.846      |<----------- 200 OK (BYE) -----------|",
            ],
        )

    def test_an_arrow_crosses_the_bar_of_an_end_in_between(self) -> None:
        lines = draw(
            [step("INVITE", target="a:1"), step("INVITE", 0.1, "a:1", "b:2"),
             step("487 Request Terminated", 0.2, "b:2", UMD)]
        )  # fmt: skip
        self.assertEqual(
            lines,
            [
                "         umd.sim:5060               a:1                   b:2",
                "    0.000      |------ INVITE ------>|                     |",
                "    0.100      |                     |------ INVITE ------>|",
                "    0.200      |<---- 487 Request Terminated (INVITE) -----|",
            ],
        )

    def test_a_ladder_of_up_to_five_ends_fits_80_columns(self) -> None:
        for count in range(2, 6):
            ends = [f"192.168.100.{end}:50{end}0" for end in range(count)]
            ladder = [
                step("487 Request Terminated", end / 10, *pair, retransmission=10)
                for end, pair in enumerate(zip(ends, ends[1:]))
            ]
            lines = draw(ladder)
            self.assertLessEqual(max(map(len, lines)), 80, "\n".join(lines))
            self.assertIn("487", lines[-1])

    def test_long_names_get_a_legend(self) -> None:
        lines = draw([step("BYE", source="[2001:db8:1234:5678::1]:5060", target="b:1")])
        self.assertEqual(
            lines[:4],
            [
                "  A is [2001:db8:1234:5678::1]:5060",
                "  B is b:1",
                "",
                "               A                                     B",
            ],
        )

    def test_a_ladder_with_too_many_ends_is_wider(self) -> None:
        ends = [f"host{end}:5060" for end in range(30)]
        lines = draw([step("BYE", 0.0, *pair) for pair in zip(ends, ends[1:])])
        self.assertEqual(len(lines), 30 + 1 + 1 + 29)

    def test_an_end_that_sends_to_itself(self) -> None:
        lines = draw([step("BYE", target=UMD), step("BYE", 1.0)])
        self.assertEqual(lines[1], "    0.000      | <> BYE")

    def test_a_label_that_does_not_fit_is_cut(self) -> None:
        ends = [f"e{end}" for end in range(5)]
        ladder = [step("SUBSCRIBE", 0.0, *pair) for pair in zip(ends, ends[1:])]
        self.assertIn("| SUBS.. ->|", draw(ladder)[1])

    def test_without_its_colours_a_coloured_ladder_is_the_plain_one(self) -> None:
        failed = [*CALL, back("486 Busy Here", 13.0), back("302 Moved", 13.0)]
        coloured = draw(failed, colour=True)
        self.assertNotEqual(coloured, draw(failed))
        self.assertEqual([click.unstyle(line) for line in coloured], draw(failed))

    def test_control_characters_of_a_message_do_not_reach_the_terminal(self) -> None:
        lines = draw([back("200 \x1b[2J\x9b2J", 0.0)])
        self.assertIn("200 ?[2J?2J (INVITE)", lines[1])
        self.assertTrue(all(line.isprintable() for line in lines))
        self.assertEqual(printable("Занято"), "Занято")

    def test_from_json_restores_what_to_json_wrote(self) -> None:
        for original in CALL:
            fields = json.loads(json.dumps(original.to_json()))
            self.assertEqual(LadderStep.from_json({**fields, "new": 1}), original)
        self.assertEqual(CALL[1].to_json()["at"], "1970-01-12T13:46:40.002000Z")
