"""Simulations of sites that are made when they are needed: a million of them, of which a round sees a thousand."""
