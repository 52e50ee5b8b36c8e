"""How fast federations are simulated: `python -m benchmarks.simulation`."""
