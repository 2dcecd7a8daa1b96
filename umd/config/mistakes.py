"""Collects the mistakes of a configuration, and words each as a message with its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel, ValidationError

from umd.config.notation import KeyPath, dotted, show_value
from umd.config.places import Place, Places

MAX_MISTAKES: Final = 100
"""More are only counted: the search for the key that was meant takes a while for each."""
MIN_SIMILARITY: Final = 0.5
"""How similar a known key is that a message suggests; see `difflib.get_close_matches`."""
ANY: Final = "*"
"""The part of a known key that stands for any index of an array, or any name of a table."""

_EXPECTED: Final[Mapping[str, str]] = {
    "bool_type": "true or false",
    "string_type": "a string",
    "string_unicode": "UTF-8",
    "int_type": "a whole number",
    "float_type": "a number",
    "dict_type": "a section",
    "model_type": "a section",
    "model_attributes_type": "a section",
    "list_type": "a list",
    "tuple_type": "a list",
}
"""What is expected instead, by pydantic's type of the error."""


class Mistakes:
    """
    The mistakes that have been found.

    Args:
        places: where each key is set.
    """

    def __init__(self, places: Places) -> None:
        self._found: list[tuple[Place, str]] = []
        self._places = places
        self._not_shown = 0

    @property
    def is_full(self) -> bool:
        """Whether there are as many as are shown."""
        return len(self._found) >= MAX_MISTAKES

    @property
    def lines(self) -> list[str]:
        """One message for each mistake, in the order of the file."""
        self._found.sort(key=lambda found: found[0][0])
        more = [f"and {self._not_shown} more like these"] if self._not_shown else []
        return [f"{place}: {text}" for (_, place), text in self._found] + more

    def add(self, path: KeyPath, text: str) -> None:
        """Add one mistake, which was found at a key."""
        self._found.append((self._places.find(path), text))

    def add_all(self, error: ValidationError, model: type[BaseModel], prefix: KeyPath = ()) -> None:
        """
        Add every mistake that pydantic has found.

        Args:
            model: what the values were validated by, for the keys that it knows.
            prefix: the section that `model` describes.
        """
        for details in error.errors(include_url=False):
            if self.is_full:
                self._not_shown += 1
                continue
            inner = tuple(str(part) for part in details["loc"])
            self.add(prefix + inner, _message(details, prefix, inner, model))


def _message(details: Any, prefix: KeyPath, inner: KeyPath, model: type[BaseModel]) -> str:
    path = prefix + inner
    if details["type"] == "extra_forbidden":
        return _unknown_key(path, known_keys(model, prefix))
    if details["type"] == "missing":
        return f"{dotted(path)} is missing"
    return f"{dotted(path)} = {show_value(details['input'])}: expected {_expected(details)}"


def _expected(details: Any) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"one of {context['expected'].replace(chr(39), chr(34))}"
    if kind == "greater_than_equal":
        return f"at least {context['ge']}"
    if kind == "less_than_equal":
        return f"at most {context['le']}"
    return _EXPECTED.get(kind, str(details["msg"]))


def _unknown_key(path: KeyPath, known: Sequence[KeyPath]) -> str:
    """Word the message about a key that does not exist, with the key that was probably meant."""
    key = dotted(path)
    names = {dotted(_fill_in(known_path, path)): known_path for known_path in known}
    nearest = get_close_matches(key, names, n=1, cutoff=MIN_SIMILARITY)
    same_name = [name for name, known_path in names.items() if known_path[-1] == path[-1]]
    if not nearest or (len(path) == 1 and nearest[0] in same_name):
        # The other common slip is the right name in the wrong section, or in none.
        nearest = same_name[:1]
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"{key} is not a setting{hint}"


def _fill_in(known: KeyPath, path: KeyPath) -> KeyPath:
    """Replace each `ANY` of a known key by the part that `path` has there, if they agree so far."""
    filled: KeyPath = ()
    for index, part in enumerate(known):
        if part != ANY:
            filled += (part,)
        elif index < len(path) - 1 and path[:index] == filled:
            filled += (path[index],)
    return filled


def known_keys(model: type[BaseModel], prefix: KeyPath = ()) -> list[KeyPath]:
    """Return every key of a model and of the models in it; sections are keys too."""
    keys: list[KeyPath] = []
    for name, info in model.model_fields.items():
        path = (*prefix, info.alias or name)
        keys.append(path)
        is_container = get_origin(info.annotation) in (list, tuple, dict)
        for kind in (info.annotation, *get_args(info.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                keys += known_keys(kind, (*path, ANY) if is_container else path)
    return keys
