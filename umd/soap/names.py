"""
Keeps names that strangers make up out of libxml2's memory, which never gives one back.

Every element, attribute, prefix and namespace that a thread has parsed stays in the dictionary of
that thread until it ends, also when the document was not well-formed: 165 MB of ever new names cost
650 MB (hardening, finding 3). Clients use the same few hundred names again and again. So a document
of known names is parsed at once, new names are learnt up to a limit, and what goes beyond it is
parsed in a thread of its own that ends with it: it costs 100 us more and leaves nothing behind.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from threading import Thread
from typing import Final, TypeVar

T = TypeVar("T")

_TAG: Final = re.compile(rb"<(?:[^<>\"']++|\"[^\"]*\"|'[^']*')*+>")
_VALUE: Final = re.compile(rb"\"[^\"]*\"|'[^']*'")
_NAMESPACE: Final = re.compile(rb"xmlns[^\s=]*\s*=\s*(\"[^\"]*\"|'[^']*')")
_NAME: Final = re.compile(rb"[^\s<>/=]+")
_LONGEST: Final = 200
"""Octets of a name that is learnt; the longest of the services' namespaces has 79."""


class Names:
    """
    The names that may stay in memory.

    Args:
        most: how many of them.
    """

    def __init__(self, most: int = 4000) -> None:
        self._most = most
        self._known: set[bytes] = set()

    def parse(self, parse: Callable[[bytes], T], document: bytes) -> T:
        """Parse a document here if its names may stay, else elsewhere; raises as `parse` does."""
        if self._may_stay(document):
            return parse(document)
        return _in_its_own_thread(parse, document)

    def _may_stay(self, document: bytes) -> bool:
        tags = _TAG.findall(document)
        if len(tags) != document.count(b"<"):
            return False  # nobody knows yet which names libxml2 will see
        names: set[bytes] = set()
        for tag in tags:
            names.update(_NAMESPACE.findall(tag))
            names.update(_NAME.findall(_VALUE.sub(b" ", tag)))
        new = names - self._known
        if not new:
            return True
        if len(self._known) + len(new) > self._most or max(map(len, new)) > _LONGEST:
            return False
        self._known |= new
        return True


def _in_its_own_thread(parse: Callable[[bytes], T], document: bytes) -> T:
    parsed: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            parsed.append(parse(document))
        except BaseException as error:
            failed.append(error)

    thread = Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        # Not kept, or its traceback would lead back to it: a cycle.
        raise failed.pop()
    return parsed[0]
