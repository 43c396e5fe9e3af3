-- MergeTree by video_id: one row a video, looked up and exported by id; not partitioned, as it is replaced whole.
{{
    config(
        materialized='table',
        engine='MergeTree()',
        order_by=['video_id'],
        query_settings={
            'optimize_aggregation_in_order': 1,
            'join_algorithm': 'hash',
            'query_plan_join_swap_table': 'false',
            'max_block_size': 1024,
            'min_joined_block_size_rows': 1,
            'min_joined_block_size_bytes': 1,
        }
    )
}}
-- Small blocks, and a join that keeps its sides: each row carries its viewers, thousands of them. At 100,000 videos
-- and 30 days this is a gigabyte instead of several. Lists, as states of uniqExact take five times as long to merge.
-- Minima of 1, not 0: with both 0, ClickHouse 26.9 loses the full join's rows where the window has no whole day yet.

with
clock as (
    select {{ as_of() }} as as_of
),

videos as (
    select * from {{ ref('stg_videos') }}
),

trending as (
    select
        video_id,
        plays_7d,
        plays_cumulative
    from {{ ref('trending_videos') }}
),

-- Read in the order of the table, a video at a time: the viewers of a window are many.
whole_days as (
    select
        video_id,
        {{ sums_of_measures() }},
        groupArrayArray(viewers) as viewers
    from {{ ref('int_daily_video_activity') }}
    where {{ whole_days_of_window() }}
    group by video_id
),

today as (
    select
        video_id,
        {{ sums_of_measures() }},
        groupUniqArray(cityHash64(user_id)) as viewers
    from {{ ref('int_session_changes') }}
    where {{ day_until_as_of() }}
    group by video_id
),

activity as (
    select
        coalesce(whole_days.video_id, today.video_id, '') as video_id,
        {{ sums_of_both_halves() }},
        arrayUniq(arrayConcat(whole_days.viewers, today.viewers)) as unique_viewers
    from whole_days
    full outer join today
        on whole_days.video_id = today.video_id
),

-- Also videos that were watched but are not in the catalogue (yet): trending_videos has all that ever were.
known as (
    select video_id from videos
    union distinct
    select video_id from trending
),

final as (
    select
        known.video_id as video_id,
        assumeNotNull((select clock.as_of from clock)) as as_of,
        coalesce(activity.sessions, 0)::UInt64 as total_sessions,
        if(total_sessions > 0, toFloat64(activity.watch_time_ratio) / total_sessions, null) as avg_completion_ratio,
        coalesce(activity.unique_viewers, 0)::UInt64 as unique_viewers,
        coalesce(activity.finished, 0)::UInt64 as finished_count,
        coalesce(activity.valid_views, 0)::UInt64 as valid_view_count,
        if(total_sessions > 0, activity.watch_time_ms / total_sessions, null) as avg_watch_time_ms,
        coalesce(activity.scrolled_in, 0)::UInt64 as scroll_in_count,
        -- Below 0 if sessions from before the window were completed then, and in it went on to another end.
        greatest(coalesce(activity.completed, 0), 0)::UInt64 as completed_sessions,
        coalesce(activity.scrolled_out, 0)::UInt64 as scrolled_away_count,
        coalesce(activity.likes, 0)::UInt64 as like_count,
        coalesce(activity.shares, 0)::UInt64 as share_count,
        coalesce(activity.comments, 0)::UInt64 as comment_count,
        coalesce(activity.saves, 0)::UInt64 as save_count,
        if(total_sessions > 0, least(completed_sessions / total_sessions, 1), null) as retention_rate,
        if(
            total_sessions > 0, (activity.likes + activity.shares + activity.comments) / total_sessions, null
        ) as engagement_rate,
        coalesce(trending.plays_7d, 0)::UInt64 as plays_7d,
        coalesce(trending.plays_cumulative, 0)::UInt64 as plays_cumulative,
        coalesce(videos.creator_id, '') as creator_id,
        coalesce(videos.title, '') as title,
        coalesce(videos.description, '') as description,
        videos.upload_time as upload_time,
        videos.duration_ms as duration_ms,
        coalesce(videos.category, '') as category,
        videos.tags as tags,
        coalesce(videos.language, '') as language,
        coalesce(videos.sound_id, '') as sound_id,
        coalesce(videos.thumbnail_url, '') as thumbnail_url,
        coalesce(videos.is_trending, false) as is_trending,
        coalesce(videos.view_count, 0) as catalogue_view_count,
        coalesce(videos.like_count, 0) as catalogue_like_count
    from known
    left join activity
        on known.video_id = activity.video_id
    left join trending
        on known.video_id = trending.video_id
    left join videos
        on known.video_id = videos.video_id
)

select * from final
