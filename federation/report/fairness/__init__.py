"""Who is served how well: figures by group, gaps between groups, and sites that do worse than alone."""
