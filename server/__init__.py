"""What the coordinator does: invite, collect, sum, step. It never sees an update of one site."""
