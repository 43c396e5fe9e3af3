-- Sessions whose row was built from another number of events than there are, either way: events that no session
-- counts, sessions without events. With an event_id unique in stg_playback_events, this puts each in one session.
-- Sessions of which something has arrived since are the next run's. Sums, no join: what does not fit spills.
{{ config(tags=['sessions', 'whole_table'], meta={'dagster': {'ref': {'name': 'int_session_states'}}}) }}

with
stored as (
    select
        user_id,
        session_key,
        uniqExact(session_id, video_id, event_id) as num_events
    from {{ source('clickhouse', 'playback_events') }}
    where session_key not in {{ waiting_sessions() }}
    group by user_id, session_key
),

both_sides as (
    select
        user_id,
        session_key,
        num_events::Int64 as events_stored,
        0::Int64 as events_counted
    from stored
    union all
    select
        user_id,
        session_key,
        0::Int64 as events_stored,
        num_events::Int64 as events_counted
    from {{ ref('int_session_states') }}
    where is_latest = 1 and session_key not in {{ waiting_sessions() }}
)

select
    user_id,
    session_key,
    sum(both_sides.events_stored) as events_stored,
    sum(both_sides.events_counted) as events_counted
from both_sides
group by user_id, session_key
having sum(both_sides.events_stored) != sum(both_sides.events_counted)
