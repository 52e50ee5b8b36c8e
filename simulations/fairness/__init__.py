"""Exact figures by group, and the comparison of each site with its own model. For simulations."""
