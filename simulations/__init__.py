"""The same code with a pretend world: every site in one process."""
