-- A view: one pass over the events that the reader asks for. A filter on the grain's columns reaches the table.
-- No joins here: a view is read with the reader's join_use_nulls, not ours.
{{ config(materialized='view', tags=['sessions']) }}

with
deliveries as (
    select
        user_id,
        session_id,
        video_id,
        groupArray({{ event_tuple() }}) as deliveries
    from {{ ref('stg_playback_events') }}
    group by user_id, session_id, video_id
),

timelines as (
    select
        user_id,
        session_id,
        video_id,
        arraySort(e -> (e.1, e.2, e.3, e.4), deliveries) as events
    from deliveries
),

{{ playback_states('timelines') }},

-- One row per event. The names differ from the columns', which ClickHouse would take for their own aliases.
exploded as (
    select
        session_id,
        user_id,
        video_id,
        start_index,
        start_ms,
        end_ms,
        event,
        nth,
        plays,
        plays_ms,
        jumped_ms,
        again_ms
    from rewound
    array join
        events as event,
        arrayEnumerate(events) as nth,
        is_playing as plays,
        playing_ms as plays_ms,
        jumped_back_ms as jumped_ms,
        rewatched_ms as again_ms
),

final as (
    select
        session_id,
        user_id,
        video_id,
        event.4 as event_id,
        event.3 as event_type,
        event.1 as impression_timestamp,
        nth::UInt64 as event_order,
        if(start_index > 0, fromUnixTimestamp64Milli(start_ms, 'UTC'), null) as play_started_at,
        if(start_index > 0, fromUnixTimestamp64Milli(end_ms, 'UTC'), null) as play_ended_at,
        plays::UInt8 as is_playing,
        plays_ms::Int64 as playing_ms,
        jumped_ms::Int64 as jumped_back_ms,
        again_ms::Int64 as rewatched_ms,
        event.7 as is_scrolled_to,
        event.5 as created_at
    from exploded
)

select * from final
