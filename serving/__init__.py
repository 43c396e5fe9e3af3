"""The endpoint: what is packed into a bundle, and how a bundle answers."""
