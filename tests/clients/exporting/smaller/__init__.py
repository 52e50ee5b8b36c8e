"""Tests of clients/exporting/smaller."""
