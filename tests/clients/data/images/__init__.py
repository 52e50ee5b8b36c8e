"""Files of images."""
