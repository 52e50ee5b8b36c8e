"""What left a site, by its ledger alone: a page that a patients' advocate can read."""
