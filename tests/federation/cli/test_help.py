"""`--help` of every command explains each of its arguments, and shows how it is called."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest
import typer

from federation.cli.main import app
from tests.federation.command import Command


def commands(group: click.Command, *words: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command under `group`, with the words that call it."""
    if isinstance(group, click.Group):
        for name, each in sorted(group.commands.items()):
            yield from commands(each, *words, name)
    else:
        yield words, group


ALL = dict(commands(typer.main.get_command(app)))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.mark.parametrize("words", list(ALL), ids=" ".join)
def test_help_explains_every_argument(words: tuple[str, ...], command: Command) -> None:
    """Since 8.5, click takes the words from typer's arguments: pyproject.toml keeps the two apart."""
    done = command(*words, "--help")
    assert done.code == 0
    assert f"Example: federation {' '.join(words)}" in done.out
    arguments = [each for each in ALL[words].params if isinstance(each, click.Argument)]
    for each in arguments:
        text = str(getattr(each, "help", None) or "")
        assert text and text in done.out, f"{' '.join(words)}: {each.name} is not explained"
    assert ("Arguments" in done.out) == bool(arguments)
    texts = [ALL[words].help or "", *(str(getattr(each, "help", None) or "") for each in ALL[words].params)]
    assert not any(re.search(r"\[[a-z_]+\]", text) for text in texts), (
        "rich takes [words] for markup, and drops them"
    )
