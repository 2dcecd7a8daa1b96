"""Turns errors of validation into messages, each with its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel, ValidationError

from umd.config.places import Place, Places
from umd.config.words import KeyPath, dotted, show_value

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
MAX_MISTAKES: Final = 100


class Mistakes:
    """Collects what is wrong, in words, each with its place."""

    def __init__(self, places: Places) -> None:
        self._found: list[tuple[Place, str]] = []
        self._places = places
        self._more = 0

    @property
    def enough(self) -> bool:
        """Whether nobody will read more of them; to find what was meant takes long."""
        return len(self._found) >= MAX_MISTAKES

    @property
    def lines(self) -> list[str]:
        """One for each mistake, in the order of the file."""
        self._found.sort(key=lambda found: found[0][0])
        more = [f"and {self._more} more like these"] if self._more else []
        return [f"{name}: {text}" for (_, name), text in self._found] + more

    def add(self, path: KeyPath, text: str) -> None:
        self._found.append((self._places.find(path), text))

    def add_all(self, error: ValidationError, model: type[BaseModel], prefix: KeyPath = ()) -> None:
        for one in error.errors(include_url=False):
            if self.enough:
                self._more += 1
                continue
            inner = tuple(str(part) for part in one["loc"])
            self.add(prefix + inner, _say(one, prefix, inner, model))


def _say(error: Any, prefix: KeyPath, inner: KeyPath, model: type[BaseModel]) -> str:
    path = prefix + inner
    if error["type"] == "extra_forbidden":
        return unknown_key(path, known_keys(model, prefix))
    if error["type"] == "missing":
        return f"{dotted(path)} is missing"
    return f"{dotted(path)} = {show_value(error['input'])}: expected {_expected(error)}"


def unknown_key(path: KeyPath, known: Sequence[KeyPath]) -> str:
    """Say that a key is none, and which one was meant."""
    key = dotted(path)
    names = {dotted(_filled(one, path)): one for one in known}
    nearest = get_close_matches(key, names, n=1, cutoff=0.5)
    if not nearest:
        # The right name in the wrong section is the other common slip.
        nearest = [name for name, one in names.items() if one[-1] == path[-1]][:1]
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"{key} is not a setting{hint}"


def _filled(known: KeyPath, path: KeyPath) -> KeyPath:
    """A known key with the numbers and names of the path in the places for any."""
    filled: KeyPath = ()
    for index, part in enumerate(known):
        if part != ANY:
            filled += (part,)
        elif index < len(path) - 1 and path[:index] == filled:
            filled += (path[index],)
    return filled


ANY: Final = "*"
"""In a known key: the number of an item or a name of one's own choice."""


def known_keys(model: type[BaseModel], prefix: KeyPath = ()) -> list[KeyPath]:
    """Every key below a model, sections too."""
    keys: list[KeyPath] = []
    for name, info in model.model_fields.items():
        path = (*prefix, info.alias or name)
        keys.append(path)
        several = get_origin(info.annotation) in (list, tuple, dict)
        for kind in (info.annotation, *get_args(info.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                keys += known_keys(kind, (*path, ANY) if several else path)
    return keys


def _expected(error: Any) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"one of {context['expected'].replace(chr(39), chr(34))}"
    for name, words in (("greater_than_equal", "at least"), ("less_than_equal", "at most")):
        if kind == name:
            return f"{words} {context['ge' if name.startswith('g') else 'le']}"
    return _EXPECTED.get(kind, str(error["msg"]))
