"""Lines on disk that reach ClickHouse, whatever happens in between: events and decisions."""
