"""What a guarantee means to one unit: how well anybody can tell that it is in the data, or what it holds."""
