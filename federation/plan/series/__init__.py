"""Tasks on time series: a record is a window of the rows of one series."""
