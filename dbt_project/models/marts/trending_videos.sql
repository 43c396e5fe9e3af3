-- MergeTree by video_id: one row a video, written back to Postgres by id; not partitioned, as it is replaced whole.
{{ config(materialized='table', engine='MergeTree()', order_by=['video_id']) }}

with
clock as (
    select {{ as_of() }} as as_of
),

activity as (
    select
        video_id,
        activity_date,
        plays,
        likes
    from {{ ref('int_daily_video_activity') }}
    where activity_date < {{ as_of_day() }}
    union all
    select
        video_id,
        activity_date,
        plays,
        likes
    from {{ ref('int_session_changes') }}
    where {{ day_until_as_of() }}
),

counts as (
    select
        video_id,
        sumIf(plays, activity_date > {{ as_of_day() }} - 7) as plays_7d,
        sum(plays) as plays_cumulative,
        sum(likes) as likes_cumulative
    from activity
    group by video_id
),

ranked as (
    select
        *,
        row_number() over (order by plays_7d desc, plays_cumulative desc, video_id asc) as rank
    from counts
),

final as (
    select
        video_id,
        assumeNotNull((select clock.as_of from clock)) as as_of,
        plays_7d::UInt64 as plays_7d,
        plays_cumulative::UInt64 as plays_cumulative,
        likes_cumulative::UInt64 as likes_cumulative,
        rank::UInt64 as rank,
        (rank <= {{ var('trending_videos') }} and plays_7d > 0)::Bool as is_trending
    from ranked
)

select * from final
