-- A view: the events are already in ClickHouse, and a second copy of the largest table would buy nothing.
{{ config(materialized='view', tags=['sessions']) }}

with
deliveries as (
    select * from {{ source('clickhouse', 'playback_events') }}
),

-- The newest delivery wins, as in ReplacingMergeTree(created_at), whether or not it has merged yet. FINAL would not
-- do: it only sees repeats with the same timestamp. The order after created_at makes a tie deterministic.
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
        user_id asc,
        session_id asc,
        video_id asc,
        event_type asc,
        playback_position_ms asc
    limit 1 by event_id
)

select * from final
