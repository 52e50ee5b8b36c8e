"""A site as its own Flower node: one outbound connection, over which it fetches requests and sends replies."""
