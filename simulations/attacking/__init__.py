"""`federation attack`: membership inference against a simulated run, held against what its plan proves."""
