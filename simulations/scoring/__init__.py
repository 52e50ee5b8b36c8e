"""How good a model is: exact metrics of held-out records, with what chance makes of them."""
