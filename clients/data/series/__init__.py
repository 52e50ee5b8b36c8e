"""Windows of the series in a table: which rows they are, and in which order."""
