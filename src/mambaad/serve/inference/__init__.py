"""The inference processes of the service, and the queue before them."""
