"""Tests of clients/exporting."""
