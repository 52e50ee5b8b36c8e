"""A run and its audit in one file, signed: made where the run is, verified anywhere."""
