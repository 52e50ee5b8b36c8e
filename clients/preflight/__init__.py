"""What is looked at before a site joins, and when something does not work: each look ends in one line."""
