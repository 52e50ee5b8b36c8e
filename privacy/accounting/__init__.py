"""Accounting: turns what was released into epsilon, and refuses what a budget does not hold."""
