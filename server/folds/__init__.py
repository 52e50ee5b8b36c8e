"""A plan with folds as a coordinator plays it: one run after the other, each in a folder of its own."""
