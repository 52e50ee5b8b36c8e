"""Markdown from texts that others wrote: what they hold is shown as it is, and makes no heading, link or table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from federation.words import printable


def escaped(text: str) -> str:
    r"""One line of plain text.

    >>> print(escaped("a|b *c* <d>"))
    a\|b \*c\* &lt;d&gt;
    """
    plain = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]()|#!])", r"\\\1", plain)


def section(title: str, lines: Iterable[str]) -> Iterator[str]:
    """A heading and what stands under it."""
    yield from ("", f"## {title}", "", *lines)


def bullets(texts: Iterable[str]) -> Iterator[str]:
    """A list."""
    for text in texts:
        yield f"- {escaped(text)}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table."""
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(escaped(cell) for cell in row)} |"
