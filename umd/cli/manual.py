"""
Makes the manual page umd(1) from the commands, in roff.

To make the page again:

    python -m umd.cli.manual > docs/umd.1
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from umd import __version__
from umd.cli.main import main

EXIT_STATUSES = (
    ("0", "The command has done its work, and the answer is yes."),
    ("1", "The answer is no: there is no such call, something is damaged, umd cannot start."),
    ("2", "The command line, the configuration or a file is wrong."),
    ("3", "umd, its journal or the backend of the call cannot be reached."),
    ("4", "The end of the call is not confirmed; for the lab: an invariant is violated."),
)
FILES = (
    ("/etc/umd/umd.toml", "The configuration that the systemd unit reads; made by umd init."),
    ("/var/lib/umd/journal.db", "The journal of the service."),
    ("/run/umd/control.sock", "The control socket of the service."),
)


def manual_page() -> str:
    """Return the page: a section for each command, with its usage, description and options."""
    return "".join(line + "\n" for line in _page())


def _page() -> Iterator[str]:
    root = click.Context(main, info_name="umd")
    yield f'.TH UMD 1 "" "umd {__version__}" "User Commands"'
    yield ".SH NAME"
    yield r"umd \- telephony call control"
    yield ".SH SYNOPSIS"
    yield f".B umd\n{_escape(' '.join(main.collect_usage_pieces(root)))}"
    yield ".SH DESCRIPTION"
    yield from _paragraphs(main.help or "")
    yield ".SH OPTIONS"
    yield from _options(main, root)
    yield ".SH COMMANDS"
    for context in _commands(root):
        yield from _command(context)
    yield ".SH EXIT STATUS"
    for status, meaning in EXIT_STATUSES:
        yield from _tagged(status, meaning)
    yield ".SH FILES"
    for path, meaning in FILES:
        yield from _tagged(path, meaning)


def _commands(context: click.Context) -> Iterator[click.Context]:
    """Yield a context for each command below a group, in the order of the help."""
    group = context.command
    assert isinstance(group, click.Group)
    for name in group.list_commands(context):
        command = group.commands[name]
        inner = click.Context(command, info_name=name, parent=context)
        if not isinstance(command, click.Group):
            yield inner
            continue
        if command.invoke_without_command:
            yield inner
        yield from _commands(inner)


def _command(context: click.Context) -> Iterator[str]:
    command = context.command
    yield f".SS {_escape(context.command_path)}"
    usage = " ".join(command.collect_usage_pieces(context))
    yield f".B {_escape(context.command_path)}\n{_escape(usage)}"
    yield ".PP"
    yield from _paragraphs(command.help or "")
    yield from _options(command, context)
    if command.epilog:
        yield from _paragraphs("\n" + command.epilog)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        is_option = isinstance(parameter, click.Option) and "--help" not in parameter.opts
        if record is not None and is_option:
            yield from _tagged(*record)


def _tagged(tag: str, text: str) -> Iterator[str]:
    yield ".TP"
    yield f".B {_escape(tag)}"
    yield _escape(text)


def _paragraphs(text: str) -> Iterator[str]:
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(text))
    for number, paragraph in enumerate(paragraphs):
        if number or text.startswith("\n"):
            yield ".PP"
        yield _escape(" ".join(paragraph.split()))


def _escape(text: str) -> str:
    """Escape what roff would read as a request, an escape sequence or a typographic hyphen."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    return r"\&" + text if text.startswith((".", "'")) else text


if __name__ == "__main__":
    print(manual_page(), end="")
