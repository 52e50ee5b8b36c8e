"""Whether a task is fit to be trained privately: tried on made-up records, before anybody enrolls."""
