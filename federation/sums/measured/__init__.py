"""What a published evaluation of numbers, counts and times says: post-processing of one noised vector."""
