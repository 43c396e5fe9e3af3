-- A view: the latest state of each session. Its order on disk is int_session_states' own: by day, then user.
{{ config(materialized='view', tags=['sessions']) }}

with
states as (
    select * from {{ ref('int_session_states') }}
),

final as (
    select
        session_id,
        user_id,
        video_id,
        started_at,
        ended_at,
        total_watch_time_ms,
        effective_watch_time_ms,
        video_duration_ms,
        watch_time_ratio,
        is_finished,
        is_valid_view,
        num_pauses,
        num_resumes,
        num_replays,
        scrolled_in,
        scrolled_out,
        exit_reason,
        was_played,
        num_likes,
        num_comments,
        num_shares,
        num_follows,
        num_saves,
        num_events,
        last_arrival_at,
        hour as last_hour
    from states
    where is_latest = 1
)

select * from final
