"""Many plans beside each other, by their budgets alone: no data is read."""
