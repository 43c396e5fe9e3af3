-- What ingestion keeps in ClickHouse. Run by ingestion.schema, which fills in the columns of the contract.

-- Ordered for scans of one person's time line; created_at is the version, so that of a repeated delivery the last stays.
-- session_key stands for the session's three ids: one column of 8 bytes to find a session's events by.
CREATE TABLE IF NOT EXISTS playback_events (
$event_columns,
$arrival_column,
    session_key UInt64 MATERIALIZED cityHash64(user_id, session_id, video_id)
)
ENGINE = ReplacingMergeTree(created_at)
PARTITION BY toYYYYMM(impression_timestamp)
ORDER BY (user_id, impression_timestamp, event_id)
-- Fine grains: an increment reads a few events each of tens of thousands of users, and a grain is the least it reads.
SETTINGS index_granularity = 512, min_compress_block_size = 8192;

-- A table of a version before the column. Nothing is rewritten: old rows compute it when they are read.
ALTER TABLE playback_events
ADD COLUMN IF NOT EXISTS session_key UInt64 MATERIALIZED cityHash64(user_id, session_id, video_id);

-- The sessions that something has arrived of, in whatever order and with whatever clock. dbt moves them to
-- touched_sessions, rebuilds them, and empties that table last (docs/adr/0002): a run that is killed leaves its work
-- there. No partition key: all rows are one partition, which moves in one atomic step.
CREATE TABLE IF NOT EXISTS session_inbox (
    user_id String,
    session_key UInt64
)
ENGINE = MergeTree
ORDER BY (user_id, session_key);

CREATE TABLE IF NOT EXISTS touched_sessions AS session_inbox;

CREATE MATERIALIZED VIEW IF NOT EXISTS session_inbox_writer TO session_inbox AS
SELECT DISTINCT
    user_id,
    cityHash64(user_id, session_id, video_id) AS session_key
FROM playback_events;

-- The duration of each video that the sessions were built with, the last row of a video counts. Where the catalogue
-- now says another, the video's sessions are touched.
CREATE TABLE IF NOT EXISTS session_durations (
    video_id String,
    duration_ms Int64
)
ENGINE = ReplacingMergeTree
ORDER BY video_id;

-- The days whose sessions were rebuilt, for each daily table by its name, by the same scheme: a table takes its partition.
CREATE TABLE IF NOT EXISTS activity_inbox (
    model LowCardinality(String),
    activity_date Date32
)
ENGINE = MergeTree
PARTITION BY model
ORDER BY activity_date;

CREATE TABLE IF NOT EXISTS touched_days AS activity_inbox;

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
    finished_at DateTime64(3, 'UTC'),
    erasures Array(UUID) COMMENT 'those that moved events from stored to quarantined',
    last_segment String COMMENT 'of the endpoint, that was counted last'
)
ENGINE = ReplacingMergeTree(finished_at)
ORDER BY (source, fingerprint, batch_id);

ALTER TABLE ingestion_ledger
ADD COLUMN IF NOT EXISTS erasures Array(UUID),
ADD COLUMN IF NOT EXISTS last_segment String;

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

-- What the endpoint answered, and how likely each item was: evidence for experiments and off-policy estimates. Sent at
-- least once, a request has one row after a merge: read it with FINAL, or count request_ids.
CREATE TABLE IF NOT EXISTS feed_decisions (
    request_id UUID,
    user_id String,
    decided_at DateTime64(3, 'UTC'),
    route LowCardinality(String),
    bundle LowCardinality(String),
    model_kind LowCardinality(String),
    model_version Nullable(UInt32),
    source LowCardinality(String),
    ranks Array(UInt32),
    video_ids Array(String),
    scores Array(Float32),
    propensities Array(Float64),
    item_sources Array(LowCardinality(String)),
    latency_ms Float32,
    cached Bool,
    degraded Array(LowCardinality(String)),
    variants Map(LowCardinality(String), String) COMMENT 'experiment to variant',
    forced Bool COMMENT 'a tester chose the variant: no evidence',
    created_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(created_at)
PARTITION BY toYYYYMM(decided_at)
ORDER BY (decided_at, request_id)
TTL toDateTime(decided_at) + INTERVAL 180 DAY;

-- What the endpoint shipped, a row a segment: planned (1) before its events are stored, done (2) once the ledger counts
-- them. A planned one has the events it is to store, each as id and arrival in milliseconds: what is found of them later
-- is its own, unless another endpoint stored the same event, which arrived there at another time.
CREATE TABLE IF NOT EXISTS shipped_segments (
    segment_id String,
    batch_id UUID COMMENT 'the row of the ledger that counts it',
    sent UInt64,
    stored UInt64,
    duplicate UInt64,
    quarantined UInt64,
    state UInt8,
    planned_at DateTime64(3, 'UTC'),
    new_events Array(Tuple(UUID, Int64))
)
ENGINE = ReplacingMergeTree(state)
ORDER BY segment_id
TTL toDateTime(planned_at) + INTERVAL 90 DAY;

ALTER TABLE shipped_segments ADD COLUMN IF NOT EXISTS new_events Array(Tuple(UUID, Int64));
