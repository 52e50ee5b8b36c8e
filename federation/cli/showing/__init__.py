"""What commands print of results, where a room of its own keeps others free of what it imports."""
