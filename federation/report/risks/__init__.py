"""Risk in a report: the figures as they are told, and one sentence for each."""
