"""A plan with folds, played message by message."""
