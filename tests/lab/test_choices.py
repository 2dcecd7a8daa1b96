"""Choices are parsed from text and written as text."""

from twisted.trial.unittest import SynchronousTestCase

from umd.lab.choices import (
    FAR,
    UMD,
    Act,
    ActAt,
    CommitFate,
    Fate,
    Fault,
    InvalidChoice,
    Verb,
    parse_choice,
)


class ChoiceTests(SynchronousTestCase):
    def test_a_choice_is_parsed_as_it_was_written(self) -> None:
        for choice in (
            Fault(Fate.LOSE, "> INVITE 1"),
            Fault(Fate.ECHO, "second < 200 BYE 12"),
            ActAt(Act("A", Verb.DISCONNECT), "sent > INVITE 1"),
            ActAt(Act("alice-2", Verb.INSIST, "second"), "got second < 180 INVITE 2"),
            ActAt(Act(FAR, Verb.HANG_UP), "told Connected"),
            ActAt(Act(FAR, Verb.ANSWER), "answered A"),
            ActAt(Act("B", Verb.LEAVE), "A disconnects"),
            ActAt(Act("B", Verb.DISCONNECT), "rest"),
            ActAt(Act(UMD, Verb.CRASH), "durable 2"),
            ActAt(Act(UMD, Verb.STAY_DOWN), "acted on 1"),
            ActAt(Act("A", Verb.DISCONNECT), "restarted"),
            Fault(CommitFate.STALL, "commit 3"),
        ):
            self.assertEqual(parse_choice(str(choice)), choice)

    def test_other_text_is_refused(self) -> None:
        for text in (
            "",
            "lose",
            "lose BYE",
            "lose > BYE",
            "eat > BYE 1",
            "A disconnects",
            "A disconnects after",
            "A disconnects after lunch",
            "far disconnects after rest",
            "A answers after rest",
            "A crashes after rest",
            "umd hangs up after rest",
            "lose commit 1",
            "stall > BYE 1",
            "A disconnects twice after rest",
        ):
            with self.assertRaises(InvalidChoice, msg=text):
                parse_choice(text)
