"""The coordinator's live page: one file, which draws the snapshot anew every second."""

from __future__ import annotations

from importlib.resources import files


def page() -> str:
    """The page, with the style of reports in it."""
    style = files("federation.report").joinpath("style.css").read_text("utf-8")
    return files("server.showing").joinpath("page.html").read_text("utf-8").replace("/* style */", style)
