-- What ingestion keeps in ClickHouse. Run by ingestion.schema, which fills in the columns of the contract.

-- Ordered for scans of one person's time line; created_at is the version, so that of a repeated delivery the last stays.
CREATE TABLE IF NOT EXISTS playback_events (
$event_columns,
$arrival_column
)
ENGINE = ReplacingMergeTree(created_at)
PARTITION BY toYYYYMM(impression_timestamp)
ORDER BY (user_id, impression_timestamp, event_id);

-- One row per load, written twice: when it starts, with finished_at 1970 and nothing counted, and when it is done.
CREATE TABLE IF NOT EXISTS ingestion_ledger (
    batch_id UUID,
    source String,
    fingerprint String,
    rows_read UInt64,
    sent UInt64,
    stored UInt64,
    duplicate UInt64,
    quarantined UInt64,
    started_at DateTime64(3, 'UTC'),
    finished_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(finished_at)
ORDER BY (source, fingerprint, batch_id);

-- Events that break the contract, whole, with the field and the reason.
CREATE TABLE IF NOT EXISTS quarantined_events (
    batch_id UUID,
    source String,
    field String,
    reason String,
    event String COMMENT 'the event as JSON',
    quarantined_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY (source, quarantined_at);
