"""Checkpoints of a site's ledger, and what a witness does with them."""
