"""What the parties agree on: the plan, the terms of a round, the messages, the journal."""
