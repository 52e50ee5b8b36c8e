"""What a site shows of itself, on its own machine: the connection, runs, epsilon, what was refused."""
