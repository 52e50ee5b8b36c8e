"""Documents in the forms that others file, made from a run that an audit has passed. A blank is never invented."""
