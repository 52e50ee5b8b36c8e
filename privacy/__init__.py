"""Privacy as mathematics: no clock, no files, no sockets, no Flower, no hidden randomness."""
