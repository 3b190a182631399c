"""The store: the only place of the service that writes, and what it wrote."""
