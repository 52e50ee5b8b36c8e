"""Plans that train nothing: one noised histogram of a table's columns, or of times until an event."""
