-- MergeTree by video_id: one row a video, looked up and exported by id; not partitioned, as it is replaced whole.
{{ config(materialized='table', engine='MergeTree()', order_by=['video_id']) }}

with
clock as (
    select {{ as_of() }} as as_of
),

videos as (
    select * from {{ ref('stg_videos') }}
),

sessions as (
    {{ feature_sessions() }}
),

activity as (
    select
        video_id,
        count() as total_sessions,
        avg(watch_time_ratio) as avg_completion_ratio,
        uniqExact(user_id) as unique_viewers,
        countIf(is_finished = 1) as finished_count,
        countIf(is_valid_view = 1) as valid_view_count,
        avg(total_watch_time_ms) as avg_watch_time_ms,
        sum(scrolled_in) as scroll_in_count,
        countIf(exit_reason = 'end_video') as completed_sessions,
        sum(scrolled_out) as scrolled_away_count,
        sum(num_likes) as like_count,
        sum(num_shares) as share_count,
        sum(num_comments) as comment_count,
        sum(num_saves) as save_count
    from sessions
    group by video_id
),

-- Trending looks at two spans of its own: a week, and everything until now.
plays as (
    select
        video_id,
        countIf(started_at > (select clock.as_of - interval 7 day from clock)) as plays_7d,
        count() as plays_cumulative
    from {{ ref('watch_sessions') }}
    where was_played = 1 and ended_at <= (select clock.as_of from clock)
    group by video_id
),

-- Also videos that were watched but are not in the catalogue (yet).
known as (
    select video_id from videos
    union distinct
    select video_id from activity
    union distinct
    select video_id from plays
),

final as (
    select
        known.video_id as video_id,
        assumeNotNull((select clock.as_of from clock)) as as_of,
        coalesce(activity.total_sessions, 0)::UInt64 as total_sessions,
        activity.avg_completion_ratio::Nullable(Float64) as avg_completion_ratio,
        coalesce(activity.unique_viewers, 0)::UInt64 as unique_viewers,
        coalesce(activity.finished_count, 0)::UInt64 as finished_count,
        coalesce(activity.valid_view_count, 0)::UInt64 as valid_view_count,
        activity.avg_watch_time_ms::Nullable(Float64) as avg_watch_time_ms,
        coalesce(activity.scroll_in_count, 0)::UInt64 as scroll_in_count,
        coalesce(activity.completed_sessions, 0)::UInt64 as completed_sessions,
        coalesce(activity.scrolled_away_count, 0)::UInt64 as scrolled_away_count,
        coalesce(activity.like_count, 0)::UInt64 as like_count,
        coalesce(activity.share_count, 0)::UInt64 as share_count,
        coalesce(activity.comment_count, 0)::UInt64 as comment_count,
        coalesce(activity.save_count, 0)::UInt64 as save_count,
        activity.completed_sessions / activity.total_sessions as retention_rate,
        (activity.like_count + activity.share_count + activity.comment_count)
        / activity.total_sessions as engagement_rate,
        coalesce(plays.plays_7d, 0)::UInt64 as plays_7d,
        coalesce(plays.plays_cumulative, 0)::UInt64 as plays_cumulative,
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
    left join plays
        on known.video_id = plays.video_id
    left join videos
        on known.video_id = videos.video_id
)

select * from final
