"""What a model says of held-out records, judged: one way for each kind of outcome."""
