"""Mechanisms: clip vectors, round them to a grid, add exact integer noise."""
