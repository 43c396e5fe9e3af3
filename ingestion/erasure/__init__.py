"""Erasure of a user: recorded first, then deleted place by place, each counted again (docs/erasure.md)."""
