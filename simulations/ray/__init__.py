"""Simulated sites on a Ray cluster, through Flower's simulation backend: slices of sites out, partial sums back."""
