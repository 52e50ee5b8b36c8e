"""What the coordinator does: invite, collect, sum, step. It never sees an update of one site.

Nothing is imported from here. Flower starts `server.app`; another program that has a transport of its own calls
`server.serve.serve`.
"""

__all__: list[str] = []
