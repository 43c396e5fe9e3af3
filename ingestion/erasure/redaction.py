"""What is kept of an erased user's event."""

REASON = "erased user"
REDACTED = '{"redacted": "erased user"}'
"""That there was one."""
