"""SIP (RFC 3261) without I/O: messages, transactions, dialogs and sessions."""


def compiled() -> bool:
    """Whether the compiled form of the core is installed, which `setup.py` can build."""
    from umd import timers

    return not timers.__file__.endswith(".py")
