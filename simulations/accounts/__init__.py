"""What the simulated sites of a run are charged: one file, written once a round, and ledgers made of it."""
