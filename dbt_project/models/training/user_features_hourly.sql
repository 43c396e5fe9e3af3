-- MergeTree by hour, then user: an hour's training rows are joined with its part of this table. Not partitioned, as
-- it is replaced whole.
{{
    config(
        materialized='table',
        engine='MergeTree()',
        order_by=['hour', 'user_id'],
        query_settings=spill_settings(),
        tags=['training'],
        pre_hook=["{{ no_rebuild_is_under_way() }}"]
    )
}}

{%- set month = ((var('feature_window_days') | int) or 30) - 1 -%}
{%- set sums = [
    ('total_sessions', 'sessions', month),
    ('total_watch_time_ms', 'watch_time_ms', month),
    ('total_effective_ms', 'effective_watch_time_ms', month),
    ('ratio_millionths', 'watch_time_ratio * 1000000', month),
    ('finished_sessions', 'finished', month),
    ('valid_sessions', 'valid_views', month),
    ('engaged_sessions', 'engaged', month),
    ('engagement_tenths', '10 * engaged + 3 * likes + 4 * shares + 4 * comments', month),
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

users as (
    select
        user_id,
        created_at
    from {{ ref('stg_users') }}
),

changes as (
    select * from {{ ref('int_session_changes') }}
),

days as (
    {{ days_as_of_now(ref('int_daily_user_activity'), 'int_daily_user_activity', 'changes', 'user_id', sums) }}
),

openings as (
    {{ openings('days', 'interactions', 'user_id', sums) }}
),

lines as (
    {{ lines_of_days('openings', 'changes', 'user_id', sums) }}
),

hourly_sums as (
    {{ hourly_sums('lines', 'user_id', sums) }}
),

hourly as (
    select * from hourly_sums
    where asks = 1
),

final as (
    select
        hourly.hour as hour,
        hourly.user_id as user_id,
        hourly.total_sessions as user_sessions,
        hourly.total_watch_time_ms as user_watch_time_ms,
        hourly.finished_sessions as user_finished,
        hourly.valid_sessions as user_valid_views,
        if(hourly.total_sessions > 0, hourly.ratio_millionths / (1000000 * hourly.total_sessions), null)
            as user_avg_completion_ratio,
        if(hourly.total_sessions > 0, hourly.total_effective_ms / hourly.total_sessions, null)
            as user_avg_effective_watch_time_ms,
        if(hourly.total_sessions > 0, hourly.engaged_sessions / hourly.total_sessions, null) as user_engaged_share,
        if(hourly.total_sessions > 0, round(hourly.engagement_tenths / (10 * hourly.total_sessions), 2), null)
            as user_engagement_score,
        if(users.created_at < hourly.hour + interval 1 hour, dateDiff('day', users.created_at, hourly.hour), null)
            as user_account_age_days
    from hourly
    left join users
        on hourly.user_id = users.user_id
)

select * from final
