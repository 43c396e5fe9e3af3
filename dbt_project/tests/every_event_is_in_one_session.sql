-- Sessions whose row was built from another number of events than there are, either way: events that no session
-- counts, sessions without events. With an event_id unique in stg_playback_events, this puts each in one session.
-- Sessions of which something has arrived since are the next run's.
{{ config(tags=['sessions'], meta={'dagster': {'ref': {'name': 'watch_sessions'}}}) }}

with
events as (
    select
        session_id,
        user_id,
        video_id,
        count() as num_events
    from {{ ref('stg_playback_events') }}
    where cityHash64(user_id, session_id, video_id) not in {{ waiting_sessions() }}
    group by session_id, user_id, video_id
),

sessions as (
    select
        session_id,
        user_id,
        video_id,
        sum(num_events) as num_events
    from {{ ref('watch_sessions') }}
    where cityHash64(user_id, session_id, video_id) not in {{ waiting_sessions() }}
    group by session_id, user_id, video_id
)

select
    coalesce(events.session_id, sessions.session_id) as session_id,
    coalesce(events.user_id, sessions.user_id) as user_id,
    coalesce(events.video_id, sessions.video_id) as video_id,
    events.num_events as events_stored,
    sessions.num_events as events_counted
from events
full outer join sessions
    on
        events.session_id = sessions.session_id
        and events.user_id = sessions.user_id
        and events.video_id = sessions.video_id
where coalesce(events.num_events, 0) != coalesce(sessions.num_events, 0)
