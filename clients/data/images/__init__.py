"""Images of a site, from files of its own, into checked tensors. Whatever a file holds, what is wrong is told by name."""
