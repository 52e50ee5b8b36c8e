"""Whole federations of real processes over a real Flower: TLS, node keys, kills and intruders."""
