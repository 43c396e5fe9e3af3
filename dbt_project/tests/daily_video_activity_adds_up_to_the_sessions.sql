-- Over all days, every measure of a video is the sum over their sessions as they are now: each counts once.
{{
    config(
        tags=['whole_table'],
        meta={'dagster': {'ref': {'name': 'int_daily_video_activity'}}}
    )
}}

with
by_day as (
    select
        video_id,
        {{ sums_of_measures() }}
    from {{ ref('int_daily_video_activity') }}
    group by video_id
),

by_session as (
    select
        video_id,
        count()::Int64 as sessions,
        sum(total_watch_time_ms) as watch_time_ms,
        sum(watch_sessions.effective_watch_time_ms) as effective_watch_time_ms,
        sum(toDecimal64(least(watch_sessions.watch_time_ratio, 1000000), 6)) as watch_time_ratio,
        sum(is_finished)::Int64 as finished,
        sum(is_valid_view)::Int64 as valid_views,
        sum(was_played)::Int64 as plays,
        countIf(watch_sessions.watch_time_ratio > 0.7)::Int64 as engaged,
        sum(watch_sessions.scrolled_in)::Int64 as scrolled_in,
        sum(watch_sessions.scrolled_out)::Int64 as scrolled_out,
        countIf(exit_reason = 'end_video')::Int64 as completed,
        sum(num_likes)::Int64 as likes,
        sum(num_comments)::Int64 as comments,
        sum(num_shares)::Int64 as shares,
        sum(num_saves)::Int64 as saves,
        sum(num_follows)::Int64 as follows
    from {{ ref('watch_sessions') }} as watch_sessions
    group by video_id
),

both as (
    select
        'int_daily_video_activity' as source_table,
        *
    from by_day
    union all
    select
        'watch_sessions' as source_table,
        *
    from by_session
)

-- Where they are equal, they are two of the same.
select
    * except (source_table),
    groupArray(source_table) as said_by
from both
group by all
having length(said_by) != 2
