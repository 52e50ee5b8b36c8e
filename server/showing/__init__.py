"""What a coordinator shows of its runs while they go on: files, a snapshot of them, a page."""
