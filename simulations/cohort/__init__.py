"""Training of a whole cohort as one tensor program: the same mathematics as every site by itself, and faster."""
