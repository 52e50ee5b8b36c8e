"""What a run's model says: read from its folder, in words, curves and points."""
