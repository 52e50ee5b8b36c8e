"""stub"""

from __future__ import annotations


def render(found, plans):
    return "x"
