"""The decision log: every list that was answered, with the probability of each item, in ClickHouse."""
