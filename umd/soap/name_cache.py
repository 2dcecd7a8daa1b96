"""
Keeps names that clients invent out of libxml2's memory.

libxml2 interns every element, attribute, prefix and namespace name that a thread parses, also of a
malformed document, and frees them only when the thread ends. 165 MB of documents with ever new
names cost 650 MB. Real clients use the same few hundred names. So a document with known names is
parsed on the calling thread, new names are added up to a limit, and any other document is parsed on
a thread of its own, which takes 100 us longer and leaves nothing behind.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from threading import Thread
from typing import Final, TypeVar

T = TypeVar("T")

MAX_NAMES: Final = 4000
MAX_NAME: Final = 200
"""Octets of a name that is added; the longest namespace of the services has 79."""

_TAG: Final = re.compile(rb"<(?:[^<>\"']++|\"[^\"]*\"|'[^']*')*+>")
_VALUE: Final = re.compile(rb"\"[^\"]*\"|'[^']*'")
_NAMESPACE: Final = re.compile(rb"xmlns[^\s=]*\s*=\s*(\"[^\"]*\"|'[^']*')")
_NAME: Final = re.compile(rb"[^\s<>/=]+")


class NameCache:
    """
    Limits how many XML names libxml2 keeps in memory.

    Names beyond the limit are parsed as well, on a thread whose memory is freed when it ends.

    Args:
        max_names: how many element, attribute, prefix and namespace names are kept at most.
    """

    def __init__(self, max_names: int = MAX_NAMES) -> None:
        self._max_names = max_names
        self._known: set[bytes] = set()

    def parse(self, parse: Callable[[bytes], T], document: bytes) -> T:
        """Return `parse(document)`, run on a thread of its own if the document has new names."""
        if self.admits(document):
            return parse(document)
        return _parse_in_thread(parse, document)

    def admits(self, document: bytes) -> bool:
        """Return whether all names are known, after adding new ones if there is room."""
        tags = _TAG.findall(document)
        if len(tags) != document.count(b"<"):
            return False  # a comment, CDATA or malformed: the names are not certain
        names: set[bytes] = set()
        for tag in tags:
            names.update(_NAMESPACE.findall(tag))
            names.update(_NAME.findall(_VALUE.sub(b" ", tag)))
        new = names - self._known
        if not new:
            return True
        if len(self._known) + len(new) > self._max_names or max(map(len, new)) > MAX_NAME:
            return False
        self._known |= new
        return True


def _parse_in_thread(parse: Callable[[bytes], T], document: bytes) -> T:
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(parse(document))
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        # pop() and not [0]: the traceback refers to this frame, and a reference back is a cycle.
        raise errors.pop()
    return results[0]
