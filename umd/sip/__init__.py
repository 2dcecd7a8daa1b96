"""SIP (RFC 3261) without I/O: messages, transactions, dialogs and sessions."""


def compiled() -> bool:
    """Whether its modules run in the compiled form that `setup.py` can make."""
    from umd import timers

    return not timers.__file__.endswith(".py")
