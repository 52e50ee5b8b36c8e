"""Sites that are lost, late or started anew in a simulation, by a public seed: the same seed, the same story."""
