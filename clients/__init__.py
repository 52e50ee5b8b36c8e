"""What a site does: hold data and keys, consent, train, release."""
