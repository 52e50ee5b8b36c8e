"""Files that people begin with: a plan, a site file, an invitation; written for them to read and to change."""
