"""The journal that the tests of this folder begin with; a file may make another one of its own."""

from tests.clients.journal.journals import journal, path

__all__ = ["journal", "path"]
