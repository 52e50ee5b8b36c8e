"""A model made smaller on its way out, which costs nothing: weights, or a student; and what is lost by it."""
