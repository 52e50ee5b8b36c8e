"""Ours beside others on public tables that were read as they are published (benchmarks/tables.md)."""
