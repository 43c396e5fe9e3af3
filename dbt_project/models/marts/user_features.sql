-- MergeTree by user_id: one row a user, looked up and exported by id; not partitioned, as it is replaced whole.
{{ config(materialized='table', engine='MergeTree()', order_by=['user_id']) }}

with
clock as (
    select {{ as_of() }} as as_of
),

users as (
    select * from {{ ref('stg_users') }}
),

sessions as (
    {{ feature_sessions() }}
),

activity as (
    select
        user_id,
        count() as total_sessions,
        avg(watch_time_ratio) as avg_completion_ratio,
        sum(total_watch_time_ms) as total_watch_time_ms,
        arraySort(groupUniqArrayIf(video_id, was_played = 1)) as watched_video_ids,
        countIf(is_finished = 1) as finished_videos_count,
        countIf(is_valid_view = 1) as valid_views_count,
        avg(effective_watch_time_ms) as avg_effective_watch_time_ms
    from sessions
    group by user_id
),

-- Also users who acted but have no profile (yet).
final as (
    select
        coalesce(users.user_id, activity.user_id, '') as user_id,
        assumeNotNull((select clock.as_of from clock)) as as_of,
        coalesce(activity.total_sessions, 0)::UInt64 as total_sessions,
        activity.avg_completion_ratio::Nullable(Float64) as avg_completion_ratio,
        coalesce(activity.total_watch_time_ms, 0)::Int64 as total_watch_time_ms,
        length(activity.watched_video_ids)::UInt64 as unique_videos_watched,
        activity.watched_video_ids as watched_video_ids,
        coalesce(activity.finished_videos_count, 0)::UInt64 as finished_videos_count,
        coalesce(activity.valid_views_count, 0)::UInt64 as valid_views_count,
        activity.avg_effective_watch_time_ms::Nullable(Float64) as avg_effective_watch_time_ms,
        dateDiff('day', users.created_at, as_of)::Nullable(Int64) as account_age_days,
        users.created_at as created_at,
        users.age as age,
        coalesce(users.gender, 'unknown') as gender,
        coalesce(users.language, '') as language,
        users.interested_categories as interested_categories,
        users.avg_daily_watch_time_ms as avg_daily_watch_time_ms,
        coalesce(users.device_type, '') as device_type,
        users.preferred_creators as preferred_creators,
        users.engagement_score as engagement_score,
        coalesce(users.region, '') as region
    from users
    full outer join activity
        on users.user_id = activity.user_id
)

select * from final
