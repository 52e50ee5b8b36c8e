"""The ledger: a signed, hash-chained account of all that a site released, and the rules of what may follow what."""
