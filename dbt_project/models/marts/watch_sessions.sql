-- MergeTree ordered by user, then time: features and histories read one user's recent sessions.
-- Partitioned by month: windows of 7 to 90 days read few partitions, and old months can be dropped whole.
-- Incremental by arrival: a session is rebuilt, whole, if what has arrived of it differs from what its row was built
-- from. The comparison is with the row itself, not with a stored mark, which makes a run repair whatever it finds:
-- sessions that a crash between delete and insert lost (no row), that two runs at once inserted (two rows), events
-- with the same created_at as the newest one of the last run, or with an older one.
-- depends_on: {{ ref('stg_playback_events') }}
{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['session_id', 'user_id', 'video_id'],
        on_schema_change='fail',
        engine='MergeTree()',
        order_by=['user_id', 'started_at', 'session_id', 'video_id'],
        partition_by='toYYYYMM(started_at)',
        tags=['sessions']
    )
}}

with
videos as (
    select
        video_id,
        duration_ms
    from {{ ref('stg_videos') }}
),

{% if is_incremental() -%}
arrived as (
    select
        session_id,
        user_id,
        video_id,
        count() as num_events,
        max(created_at) as last_arrival_at
    from {{ ref('stg_playback_events') }}
    group by session_id, user_id, video_id
),

built as (
    select
        session_id,
        user_id,
        video_id,
        count() as copies,
        any(num_events) as num_events,
        any(last_arrival_at) as last_arrival_at,
        any(video_duration_ms) as video_duration_ms
    from {{ this }}
    group by session_id, user_id, video_id
),

touched as (
    select
        arrived.session_id as session_id,
        arrived.user_id as user_id,
        arrived.video_id as video_id
    from arrived
    left join built
        on
            arrived.session_id = built.session_id
            and arrived.user_id = built.user_id
            and arrived.video_id = built.video_id
    left join videos
        on arrived.video_id = videos.video_id
    where
        built.copies is null
        or built.copies != 1
        or built.num_events != arrived.num_events
        or built.last_arrival_at != arrived.last_arrival_at
        -- A duration that became known, or was corrected, after the session.
        or built.video_duration_ms != coalesce(videos.duration_ms, {{ var('default_video_duration_ms') }})
),
{%- endif %}

events as (
    select * from {{ ref('int_session_events') }}
    {% if is_incremental() -%}
    where
        (user_id, session_id, video_id) in (
            select
                touched.user_id,
                touched.session_id,
                touched.video_id
            from touched
        )
    {%- endif %}
),

sessions as (
    select
        session_id,
        user_id,
        video_id,
        coalesce(any(play_started_at), min(impression_timestamp)) as started_at,
        max(impression_timestamp) as ended_at,
        coalesce(dateDiff('millisecond', any(play_started_at), any(play_ended_at)), 0) as total_watch_time_ms,
        sum(playing_ms) - sum(rewatched_ms) as effective_watch_time_ms,
        countIf(event_type = 'view_start') > 0 as was_played,
        countIf(event_type = 'pause') as num_pauses,
        countIf(event_type = 'resume') as num_resumes,
        countIf(event_type = 'replay') as num_replays,
        countIf(event_type = 'like') as num_likes,
        countIf(event_type = 'comment') as num_comments,
        countIf(event_type = 'share') as num_shares,
        countIf(event_type = 'follow_creator') as num_follows,
        countIf(event_type = 'save') as num_saves,
        argMin(is_scrolled_to, event_order) as scrolled_in,
        countIf(event_type = 'scroll_pass') > 0 as scrolled_out,
        argMax(event_type, event_order) as last_event_type,
        count() as num_events,
        max(created_at) as last_arrival_at
    from events
    group by session_id, user_id, video_id
),

with_durations as (
    select
        sessions.*,
        coalesce(videos.duration_ms, {{ var('default_video_duration_ms') }}) as video_duration_ms,
        sessions.total_watch_time_ms / video_duration_ms as watch_time_ratio
    from sessions
    left join videos
        on sessions.video_id = videos.video_id
),

final as (
    select
        session_id,
        user_id,
        video_id,
        started_at,
        ended_at,
        total_watch_time_ms::Int64 as total_watch_time_ms,
        effective_watch_time_ms::Int64 as effective_watch_time_ms,
        video_duration_ms::Int64 as video_duration_ms,
        watch_time_ratio::Float64 as watch_time_ratio,
        (watch_time_ratio >= 0.9)::UInt8 as is_finished,
        (total_watch_time_ms > 300)::UInt8 as is_valid_view,
        num_pauses::UInt32 as num_pauses,
        num_resumes::UInt32 as num_resumes,
        num_replays::UInt32 as num_replays,
        scrolled_in::UInt8 as scrolled_in,
        scrolled_out::UInt8 as scrolled_out,
        multiIf(
            last_event_type = 'scroll_pass', 'scroll',
            last_event_type = 'view_end', 'end_video',
            last_event_type = 'click', 'click_other',
            'close_app'
        )::Enum8('scroll' = 1, 'end_video' = 2, 'close_app' = 3, 'click_other' = 4) as exit_reason,
        was_played::UInt8 as was_played,
        num_likes::UInt32 as num_likes,
        num_comments::UInt32 as num_comments,
        num_shares::UInt32 as num_shares,
        num_follows::UInt32 as num_follows,
        num_saves::UInt32 as num_saves,
        num_events::UInt32 as num_events,
        last_arrival_at
    from with_durations
)

select * from final
