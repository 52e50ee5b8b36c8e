"""Public maps from images to features, and models of images."""
