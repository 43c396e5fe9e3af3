-- And its states follow each other: each is superseded in the hour of the next, until the last.
{{ config(tags=['sessions', 'whole_table']) }}

with
sessions as (
    select
        session_key,
        session_id,
        user_id,
        video_id,
        countIf(is_latest = 1) as latest_states,
        arraySort(groupArray((hour, superseded_at, next_ended_at, ended_at, is_latest))) as states
    from {{ ref('int_session_states') }}
    group by session_key, session_id, user_id, video_id
)

select
    session_id,
    user_id,
    video_id,
    latest_states,
    length(states) as num_states
from sessions
where
    latest_states != 1
    or tupleElement(states[-1], 5) != 1
    or arrayPopBack(states.2) != arrayPopFront(states.1)
    or arrayPopBack(states.3) != arrayPopFront(states.4)
