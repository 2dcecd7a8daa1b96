"""
Imports Twisted's TCP without OpenSSL, so that umd starts faster if it does not use TLS.

Twisted imports OpenSSL and the packages below it together with TCP. That is an eighth of the work
of a start. `twisted.internet.tcp` and `twisted.internet.posixbase` use one name of all that: the
factory in `twisted.protocols.tls`, which they call when TLS begins. So they get a stand-in, which
imports that module at the first call. Any other module imports the real `twisted.protocols.tls`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, Final

_TLS: Final = "twisted.protocols.tls"
_SSL: Final = "twisted.internet.ssl"


def import_tcp() -> None:
    """Import Twisted's TCP; with OpenSSL if one of the modules that use it is loaded already."""
    if {_TLS, _SSL, "twisted.internet.tcp", "twisted.internet.posixbase"} & sys.modules.keys():
        return
    stand_in: Any = ModuleType(_TLS)
    stand_in.TLSMemoryBIOFactory = _make_tls_factory
    sys.modules[_TLS] = stand_in
    # Twisted uses this one only if it has no `twisted.protocols.tls`. None fails its import.
    sys.modules[_SSL] = None  # type: ignore[assignment]
    try:
        import twisted.internet.posixbase  # noqa: F401  # imports twisted.internet.tcp, too
    finally:
        del sys.modules[_TLS], sys.modules[_SSL]


def _make_tls_factory(*arguments: Any, **named: Any) -> Any:
    """Make a `TLSMemoryBIOFactory`, whose module the first call imports."""
    from twisted.protocols.tls import TLSMemoryBIOFactory

    return TLSMemoryBIOFactory(*arguments, **named)
