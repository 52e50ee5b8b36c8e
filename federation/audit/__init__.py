"""Re-verify a run from its files alone."""
