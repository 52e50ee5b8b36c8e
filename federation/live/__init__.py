"""A page on this machine that shows what is going on now."""
