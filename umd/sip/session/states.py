"""
The states of an INVITE session, its inputs, and which input leads to which state.

`TRANSITIONS[state][input]` is the next state. An input without a row is illegal in that state.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from umd.errors import UmdError


class State(StrEnum):
    """The states of a session: five of the caller, four of the callee, and three of both."""

    CALLING = "calling"
    """INVITE sent, no response yet."""
    GIVING_UP = "giving up"
    """As CALLING, and the user has hung up: CANCEL must wait for a provisional response (§9.1)."""
    PROCEEDING = "proceeding"
    """INVITE sent, a provisional response received."""
    CANCELLING = "cancelling"
    """CANCEL sent, no final response to the INVITE yet."""
    UNPROVEN = "unproven"
    """Hung up, and the INVITE has a final response, but a phone may ring on."""
    OFFERED = "offered"
    """INVITE received, no final response sent."""
    REJECTING = "rejecting"
    """300 to 699 sent, its ACK not received."""
    ANSWERED = "answered"
    """2xx sent, its ACK not received."""
    LEAVING = "leaving"
    """As ANSWERED, and the user has hung up: BYE must wait for the ACK (§15)."""
    CONFIRMED = "confirmed"
    """The INVITE has its 2xx and its ACK."""
    CLEARING = "clearing"
    """BYE sent, no final response yet."""
    ENDED = "ended"


class Input(StrEnum):
    """What can happen to a session: a verb of its user, a message, or a timeout."""

    PROGRESS = "user: progress"
    ANSWER = "user: answer"
    REJECT = "user: reject"
    HANG_UP = "user: hang up"
    PROVISIONAL = "1xx"
    SUCCESS = "2xx"
    FAILURE = "300-699"
    UNPROVEN_FAILURE = "300-699 that leaves a phone that may ring on"
    CHALLENGE = "401 or 407 that another try follows"
    NO_RESPONSE = "INVITE unanswered or unsendable"
    NO_FINAL = "64*T1 after CANCEL"
    CANCEL = "CANCEL"
    ACK = "ACK of a 2xx"
    ACK_OF_FAILURE = "ACK of a failure"
    NO_ACK = "64*T1 without ACK"
    BYE = "BYE"
    BYE_DONE = "BYE answered or given up"
    UNKNOWN_THERE = "481 to our probe"


TRANSITIONS: Final[Mapping[State, Mapping[Input, State]]] = {
    State.CALLING: {
        Input.PROVISIONAL: State.PROCEEDING,
        Input.SUCCESS: State.CONFIRMED,
        Input.FAILURE: State.ENDED,
        Input.CHALLENGE: State.CALLING,
        Input.NO_RESPONSE: State.ENDED,
        Input.HANG_UP: State.GIVING_UP,
    },
    State.GIVING_UP: {
        Input.PROVISIONAL: State.CANCELLING,
        Input.SUCCESS: State.CLEARING,
        Input.FAILURE: State.ENDED,
        Input.UNPROVEN_FAILURE: State.UNPROVEN,
        Input.CHALLENGE: State.CANCELLING,  # a try from before a restart may ring
        Input.NO_RESPONSE: State.ENDED,
        Input.HANG_UP: State.GIVING_UP,
    },
    State.PROCEEDING: {
        Input.PROVISIONAL: State.PROCEEDING,
        Input.SUCCESS: State.CONFIRMED,
        Input.FAILURE: State.ENDED,
        Input.CHALLENGE: State.CALLING,
        Input.BYE: State.ENDED,  # every 2xx was lost, and the callee gave up waiting for our ACK
        Input.HANG_UP: State.CANCELLING,
    },
    State.CANCELLING: {
        Input.PROVISIONAL: State.CANCELLING,
        Input.SUCCESS: State.CLEARING,  # it crossed our CANCEL
        Input.FAILURE: State.ENDED,
        Input.UNPROVEN_FAILURE: State.UNPROVEN,
        Input.CHALLENGE: State.CANCELLING,  # as in GIVING_UP
        Input.NO_FINAL: State.ENDED,
        Input.BYE: State.ENDED,
        Input.HANG_UP: State.CANCELLING,
    },
    State.UNPROVEN: {
        Input.SUCCESS: State.CLEARING,  # a phone rang on, and was answered
        Input.FAILURE: State.ENDED,
        Input.UNPROVEN_FAILURE: State.UNPROVEN,
        Input.NO_FINAL: State.ENDED,
        Input.BYE: State.ENDED,
        Input.HANG_UP: State.UNPROVEN,
    },
    State.OFFERED: {
        Input.PROGRESS: State.OFFERED,
        Input.ANSWER: State.ANSWERED,
        Input.REJECT: State.REJECTING,
        Input.HANG_UP: State.REJECTING,
        Input.CANCEL: State.ENDED,
        Input.BYE: State.ENDED,  # the caller may end an early dialog so (§15)
    },
    State.REJECTING: {
        Input.ACK_OF_FAILURE: State.ENDED,
        Input.NO_ACK: State.ENDED,
        Input.CANCEL: State.REJECTING,
        Input.HANG_UP: State.REJECTING,
    },
    State.ANSWERED: {
        Input.ACK: State.CONFIRMED,
        Input.NO_ACK: State.CLEARING,
        Input.CANCEL: State.ANSWERED,  # too late (§9.2)
        Input.BYE: State.ENDED,
        Input.HANG_UP: State.LEAVING,
    },
    State.LEAVING: {
        Input.ACK: State.CLEARING,
        Input.NO_ACK: State.CLEARING,
        Input.CANCEL: State.LEAVING,
        Input.BYE: State.ENDED,
        Input.HANG_UP: State.LEAVING,
    },
    State.CONFIRMED: {
        Input.SUCCESS: State.CONFIRMED,  # again, or of another fork
        Input.ACK: State.CONFIRMED,
        Input.NO_ACK: State.CLEARING,  # of the answer to a re-INVITE (§14.2)
        Input.CANCEL: State.CONFIRMED,
        Input.BYE: State.ENDED,
        Input.HANG_UP: State.CLEARING,
        Input.UNKNOWN_THERE: State.ENDED,
    },
    State.CLEARING: {
        Input.SUCCESS: State.CLEARING,
        Input.CHALLENGE: State.CLEARING,  # of our BYE
        Input.ACK: State.CLEARING,
        Input.CANCEL: State.CLEARING,
        Input.BYE: State.ENDED,  # both hung up at once
        Input.BYE_DONE: State.ENDED,
        Input.HANG_UP: State.CLEARING,
    },
    State.ENDED: {  # late messages and timeouts
        Input.PROVISIONAL: State.ENDED,
        Input.SUCCESS: State.ENDED,
        Input.FAILURE: State.ENDED,
        Input.NO_RESPONSE: State.ENDED,
        Input.NO_FINAL: State.ENDED,
        Input.CANCEL: State.ENDED,
        Input.ACK: State.ENDED,
        Input.ACK_OF_FAILURE: State.ENDED,
        Input.NO_ACK: State.ENDED,
        Input.BYE_DONE: State.ENDED,
        Input.HANG_UP: State.ENDED,
    },
}


class IllegalInput(UmdError):
    """The session's state has no row for this verb."""


# As plain names: the enums' own attributes cost several times as much up to Python 3.11.
CALLING, GIVING_UP, PROCEEDING, CANCELLING, UNPROVEN = list(State)[:5]
OFFERED, REJECTING, ANSWERED, LEAVING, CONFIRMED, CLEARING, ENDED = list(State)[5:]
PROGRESS, ANSWER, HANG_UP = Input.PROGRESS, Input.ANSWER, Input.HANG_UP
PROVISIONAL, SUCCESS, FAILURE = Input.PROVISIONAL, Input.SUCCESS, Input.FAILURE
ACK, BYE, BYE_DONE = Input.ACK, Input.BYE, Input.BYE_DONE
