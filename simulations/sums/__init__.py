"""What all simulated sites contribute to a round, added up in one process."""
