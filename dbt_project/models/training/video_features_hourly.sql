-- MergeTree by hour, then video: an hour's training rows are joined with its part of this table. Not partitioned, as
-- it is replaced whole.
{{
    config(
        materialized='table',
        engine='MergeTree()',
        order_by=['hour', 'video_id'],
        query_settings=spill_settings(),
        tags=['training'],
        pre_hook=["{{ no_rebuild_is_under_way() }}"]
    )
}}

{%- set month = ((var('feature_window_days') | int) or 30) - 1 -%}
{%- set sums = [
    ('total_sessions', 'sessions', month),
    ('total_watch_time_ms', 'watch_time_ms', month),
    ('ratio_millionths', 'watch_time_ratio * 1000000', month),
    ('finished_sessions', 'finished', month),
    ('valid_sessions', 'valid_views', month),
    ('completed_sessions', 'completed', month),
    ('reactions', 'likes + shares + comments', month),
    ('plays_of_week', 'plays', 6),
    ('plays_ever', 'plays', 'unbounded'),
] %}

with
interactions as (
    select * from {{ ref('training_interactions') }}
),

span as (
    select
        toDate32(min(hour)) as first_day,
        toDate32(max(hour)) as last_day
    from interactions
),

videos as (
    select
        video_id,
        upload_time
    from {{ ref('stg_videos') }}
),

changes as (
    select * from {{ ref('int_session_changes') }}
),

days as (
    {{ days_as_of_now(ref('int_daily_video_activity'), 'int_daily_video_activity', 'changes', 'video_id', sums) }}
),

openings as (
    {{ openings('days', 'interactions', 'video_id', sums) }}
),

lines as (
    {{ lines_of_days('openings', 'changes', 'video_id', sums) }}
),

hourly_sums as (
    {{ hourly_sums('lines', 'video_id', sums) }}
),

hourly as (
    select * from hourly_sums
    where asks = 1
),

final as (
    select
        hourly.hour as hour,
        hourly.video_id as video_id,
        hourly.total_sessions as video_sessions,
        hourly.finished_sessions as video_finished,
        hourly.valid_sessions as video_valid_views,
        hourly.plays_of_week as video_plays_7d,
        hourly.plays_ever as video_plays_cumulative,
        if(hourly.total_sessions > 0, hourly.ratio_millionths / (1000000 * hourly.total_sessions), null)
            as video_avg_completion_ratio,
        if(hourly.total_sessions > 0, hourly.total_watch_time_ms / hourly.total_sessions, null)
            as video_avg_watch_time_ms,
        if(hourly.total_sessions > 0, greatest(hourly.completed_sessions, 0) / hourly.total_sessions, null)
            as video_retention_rate,
        if(hourly.total_sessions > 0, hourly.reactions / hourly.total_sessions, null) as video_engagement_rate,
        if(videos.upload_time < hourly.hour + interval 1 hour, dateDiff('hour', videos.upload_time, hourly.hour), null)
            as video_age_hours
    from hourly
    left join videos
        on hourly.video_id = videos.video_id
)

select * from final
