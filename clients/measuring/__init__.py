"""What this installation does to a site's records, measured on made-up ones: `federation rehearse`."""
