-- A view: the events are already in ClickHouse, and a second copy of the largest table would buy nothing.
{{ config(materialized='view', tags=['sessions']) }}

with
deliveries as (
    select * from {{ source('clickhouse', 'playback_events') }}
),

-- The newest delivery wins, as in ReplacingMergeTree(created_at), whether or not it has merged yet. FINAL would not
-- do: it only sees repeats with the same timestamp. The order after created_at, distinct_events' own, settles a tie.
-- An event is the same by its id and its session's ids, which never change: so a filter on a person or a session
-- reaches the table. An id that two sessions claim fails a test.
final as (
    select
        event_id,
        user_id,
        video_id,
        session_id,
        event_type,
        position_index,
        impression_timestamp,
        scroll_speed_ms,
        playback_position_ms,
        device_type,
        network_type,
        geo_location,
        time_of_day,
        day_of_week,
        request_id,
        created_at
    from deliveries
    order by
        created_at desc,
        impression_timestamp desc,
        event_type asc,
        playback_position_ms asc nulls last,
        (position_index > 0 or scroll_speed_ms > 0) asc,
        position_index asc,
        scroll_speed_ms asc
    limit 1 by user_id, session_id, video_id, event_id
)

select * from final
