"""Pages for people: one file each, in one style, with every name in them escaped."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template


@lru_cache(maxsize=16)
def page_template(folder: Path, *filters: Callable[..., Any]) -> Template:
    """The folder's page_template.html, with each filter under its function's name.

    It can include `style.css`. A value that is missing is an error, not a blank. To compile one takes as long as an
    audit's other work together, so a process does it once.
    """
    pages = Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {show.__name__: show for show in filters}
    return pages.get_template("page_template.html")
