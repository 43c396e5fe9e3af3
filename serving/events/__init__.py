"""Events that clients report: checked, made durable, known to the session at once, shipped to ClickHouse."""
