"""The link to the sites: a SuperLink of our own behind a gate, and the coordinator's end of it."""
