-- Both feature tables count each session of their window once, by the clock they were built with: events that arrive
-- between the build and this test change nothing here.
{{ config(meta={'dagster': {'ref': {'name': 'user_features'}}}) }}

with
counted as (
    select
        'user_features' as feature_table,
        max(as_of) as as_of,
        sum(total_sessions) as total_sessions
    from {{ ref('user_features') }}
    union all
    select
        'video_features' as feature_table,
        max(as_of) as as_of,
        sum(total_sessions) as total_sessions
    from {{ ref('video_features') }}
),

in_window as (
    select
        counted.feature_table as feature_table,
        countIf(
            sessions.ended_at <= counted.as_of
            and sessions.started_at > counted.as_of - interval {{ var('feature_window_days') }} day
        ) as total_sessions
    from counted
    cross join {{ ref('watch_sessions') }} as sessions
    group by counted.feature_table
)

select
    counted.feature_table as feature_table,
    counted.total_sessions as sessions_counted,
    in_window.total_sessions as sessions_in_window
from counted
left join in_window
    on counted.feature_table = in_window.feature_table
where counted.total_sessions != coalesce(in_window.total_sessions, 0)
