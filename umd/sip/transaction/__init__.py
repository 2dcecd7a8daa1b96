"""SIP transactions: requests, their responses and their retransmissions (RFC 3261 §17)."""

from umd.sip.transaction.hop import (
    Hop,
    Send,
    response_hop,
)
from umd.sip.transaction.layer import (
    TransactionLayer,
)
from umd.sip.transaction.states import (
    CLIENT_INVITE,
    CLIENT_NON_INVITE,
    SERVER_INVITE,
    SERVER_NON_INVITE,
    Event,
    State,
    Table,
)
from umd.sip.transaction.transaction import (
    ClientInvite,
    ClientNonInvite,
    Core,
    IllegalEvent,
    Key,
    ServerInvite,
    ServerNonInvite,
    Transaction,
    TransactionUser,
    server_key,
)

__all__ = [
    "CLIENT_INVITE",
    "CLIENT_NON_INVITE",
    "ClientInvite",
    "ClientNonInvite",
    "Core",
    "Event",
    "Hop",
    "IllegalEvent",
    "Key",
    "SERVER_INVITE",
    "SERVER_NON_INVITE",
    "Send",
    "ServerInvite",
    "ServerNonInvite",
    "State",
    "Table",
    "Transaction",
    "TransactionLayer",
    "TransactionUser",
    "response_hop",
    "server_key",
]
