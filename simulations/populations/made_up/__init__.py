"""Tables of hospitals and banks that are made up from beginning to end, each with the layout of a real one."""
