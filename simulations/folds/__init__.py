"""Cross-validation: a simulation for each of K parts of the records, which it is tested on."""
