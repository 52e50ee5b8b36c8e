"""A finished run's model in the file formats of others, and what it is said to be: `federation export`."""
