"""Files of images, of any content, into pixels: what is wrong with one is told by name."""
