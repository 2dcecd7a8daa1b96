"""
The states of SIP transactions, the events, and which event leads to which state.

Each of the four tables is one figure of RFC 3261: 5 (INVITE client), 6 (non-INVITE client), 7
(INVITE server) and 8 (non-INVITE server). The INVITE tables have the state Accepted, as RFC 6026
redraws them. A row that leads back to its own state absorbs or repeats a message. An event without
a row is an error of umd, not of the peer: `Transaction.advance` raises `IllegalEvent`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeAlias


class State(StrEnum):
    """The states of a transaction, with the words of figures 5 to 8."""

    CALLING = "calling"
    TRYING = "trying"
    PROCEEDING = "proceeding"
    COMPLETED = "completed"
    ACCEPTED = "accepted"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


class Event(StrEnum):
    """What can happen to a transaction. A client receives responses, a server sends them."""

    PROVISIONAL = "1xx"
    SUCCESS = "2xx"
    FAILURE = "300-699"
    REQUEST = "request again"
    ACK = "ACK"
    TRYING = "100 after 200 ms"
    TIMER_A = "A"
    TIMER_B = "B"
    TIMER_D = "D"
    TIMER_E = "E"
    TIMER_F = "F"
    TIMER_G = "G"
    TIMER_H = "H"
    TIMER_I = "I"
    TIMER_J = "J"
    TIMER_K = "K"
    TIMER_L = "L"
    TIMER_M = "M"
    TRANSPORT_ERROR = "transport error"


# As plain names: the enums' own attributes cost several times as much up to Python 3.11.
CALLING, TRYING, PROCEEDING, COMPLETED, ACCEPTED, CONFIRMED, TERMINATED = State
PROVISIONAL, SUCCESS, FAILURE = Event.PROVISIONAL, Event.SUCCESS, Event.FAILURE
REQUEST, ACK = Event.REQUEST, Event.ACK

Table: TypeAlias = Mapping[State, Mapping[Event, State]]

CLIENT_INVITE: Final[Table] = {  # figure 5 with RFC 6026 §7.2
    CALLING: {
        PROVISIONAL: PROCEEDING,
        SUCCESS: ACCEPTED,
        FAILURE: COMPLETED,
        Event.TIMER_A: CALLING,
        Event.TIMER_B: TERMINATED,
        Event.TRANSPORT_ERROR: TERMINATED,
    },
    PROCEEDING: {
        PROVISIONAL: PROCEEDING,
        SUCCESS: ACCEPTED,
        FAILURE: COMPLETED,
    },
    COMPLETED: {
        PROVISIONAL: COMPLETED,  # overtaken on the way
        SUCCESS: COMPLETED,  # a fork answered too (§16.7 step 5): the user hears of it
        FAILURE: COMPLETED,
        Event.TIMER_D: TERMINATED,
        Event.TRANSPORT_ERROR: TERMINATED,
    },
    ACCEPTED: {
        PROVISIONAL: ACCEPTED,  # overtaken on the way, or another fork still ringing
        SUCCESS: ACCEPTED,
        FAILURE: ACCEPTED,
        Event.TIMER_M: TERMINATED,
    },
    TERMINATED: {},
}

CLIENT_NON_INVITE: Final[Table] = {  # figure 6
    TRYING: {
        PROVISIONAL: PROCEEDING,
        SUCCESS: COMPLETED,
        FAILURE: COMPLETED,
        Event.TIMER_E: TRYING,
        Event.TIMER_F: TERMINATED,
        Event.TRANSPORT_ERROR: TERMINATED,
    },
    PROCEEDING: {
        PROVISIONAL: PROCEEDING,
        SUCCESS: COMPLETED,
        FAILURE: COMPLETED,
        Event.TIMER_E: PROCEEDING,
        Event.TIMER_F: TERMINATED,
        Event.TRANSPORT_ERROR: TERMINATED,
    },
    COMPLETED: {
        PROVISIONAL: COMPLETED,
        SUCCESS: COMPLETED,
        FAILURE: COMPLETED,
        Event.TIMER_K: TERMINATED,
    },
    TERMINATED: {},
}

SERVER_INVITE: Final[Table] = {  # figure 7 with RFC 6026 §7.1: a transport error ends nothing
    PROCEEDING: {
        REQUEST: PROCEEDING,
        Event.TRYING: PROCEEDING,
        PROVISIONAL: PROCEEDING,
        SUCCESS: ACCEPTED,
        FAILURE: COMPLETED,
        Event.TRANSPORT_ERROR: PROCEEDING,
    },
    COMPLETED: {
        REQUEST: COMPLETED,
        ACK: CONFIRMED,
        Event.TIMER_G: COMPLETED,
        Event.TIMER_H: TERMINATED,
        Event.TRANSPORT_ERROR: COMPLETED,
    },
    CONFIRMED: {
        REQUEST: CONFIRMED,  # overtaken by its own ACK
        ACK: CONFIRMED,
        Event.TIMER_I: TERMINATED,
    },
    ACCEPTED: {
        REQUEST: ACCEPTED,
        ACK: ACCEPTED,
        SUCCESS: ACCEPTED,
        Event.TIMER_L: TERMINATED,
        Event.TRANSPORT_ERROR: ACCEPTED,
    },
    TERMINATED: {},
}

SERVER_NON_INVITE: Final[Table] = {  # figure 8
    TRYING: {
        REQUEST: TRYING,
        PROVISIONAL: PROCEEDING,
        SUCCESS: COMPLETED,
        FAILURE: COMPLETED,
    },
    PROCEEDING: {
        REQUEST: PROCEEDING,
        PROVISIONAL: PROCEEDING,
        SUCCESS: COMPLETED,
        FAILURE: COMPLETED,
        Event.TRANSPORT_ERROR: TERMINATED,
    },
    COMPLETED: {
        REQUEST: COMPLETED,
        SUCCESS: COMPLETED,  # a second final is discarded, not sent (§17.2.2)
        FAILURE: COMPLETED,
        Event.TIMER_J: TERMINATED,
        Event.TRANSPORT_ERROR: TERMINATED,
    },
    TERMINATED: {},
}
