"""What is remembered of runs that are over."""
