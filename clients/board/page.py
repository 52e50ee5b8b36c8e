"""The page of a site: one file without anything from elsewhere, which asks for a snapshot every two seconds."""

from __future__ import annotations

from importlib.resources import files


def html() -> str:
    """The page. What it shows comes from `clients.board.words.as_json`, put in as text, never as markup."""
    return (files("clients.board") / "page.html").read_text("utf-8")
