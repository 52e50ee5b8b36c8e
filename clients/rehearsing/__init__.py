"""A site in a rehearsal: the same protocol on made-up records, with nothing of its own behind it."""
