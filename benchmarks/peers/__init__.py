"""The same work by peers, in an environment of their own: `make bench-peers`."""
