"""What was measured of an installation's mechanism, held against a plan: figures, their limits, a verdict."""
