"""`federation explain` and `federation predict`: what a run's model says, of itself and of rows."""
