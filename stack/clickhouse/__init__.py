"""The embedded ClickHouse: the ClickHouse HTTP interface over chDB, one process that owns its data folder.

`python -m stack.clickhouse --path DIR --port N` serves it; clients can't tell it from a server in what they use.
"""
