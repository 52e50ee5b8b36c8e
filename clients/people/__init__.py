"""People who withdraw: the site's private list of them, and what leaves their records out."""
