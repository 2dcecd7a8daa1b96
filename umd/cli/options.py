"""The options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Decorator: TypeAlias = Callable[[Any], Any]


def complete_file(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Let the shell complete the names of files (a `shell_complete` function of click)."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def complete_directory(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Let the shell complete the names of directories (a `shell_complete` function of click)."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="dir")]


override_option: Decorator = click.option(
    "-o",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Override a key of the configuration, for example call.deadline=2s. Repeatable.",
)
socket_option: Decorator = click.option(
    "--socket",
    "path",
    metavar="PATH",
    shell_complete=complete_file,
    help="Control socket of the umd to ask. Default: that of this user, else of the service.",
)
json_option: Decorator = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object per line, for programs."
)
journal_option: Decorator = click.option(
    "--journal",
    metavar="FILE",
    shell_complete=complete_file,
    help="Read this journal file, which no running umd may have open. Default: that of the "
    "running umd, else of the service.",
)
