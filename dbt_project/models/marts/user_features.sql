-- MergeTree by user_id: one row a user, looked up and exported by id; not partitioned, as it is replaced whole.
{{
    config(
        materialized='table',
        engine='MergeTree()',
        order_by=['user_id'],
        query_settings={'optimize_aggregation_in_order': 1}
    )
}}

with
clock as (
    select {{ as_of() }} as as_of
),

users as (
    select * from {{ ref('stg_users') }}
),

engagement as (
    select
        user_id,
        engagement_score
    from {{ ref('user_engagement') }}
),

-- Read in the order of the table, a user at a time: a window of 30 days holds hundreds of videos of each user.
whole_days as (
    select
        user_id,
        {{ sums_of_measures() }},
        groupUniqArrayArray(played_video_ids) as video_ids
    from {{ ref('int_daily_user_activity') }}
    where {{ whole_days_of_window() }}
    group by user_id
),

today as (
    select
        user_id,
        {{ sums_of_measures() }},
        groupUniqArrayIf(video_id, was_played = 1) as video_ids
    from {{ ref('int_session_changes') }}
    where {{ day_until_as_of() }}
    group by user_id
),

activity as (
    select
        coalesce(whole_days.user_id, today.user_id, '') as user_id,
        {{ sums_of_both_halves() }},
        arraySort(arrayDistinct(arrayConcat(whole_days.video_ids, today.video_ids))) as watched_video_ids
    from whole_days
    full outer join today
        on whole_days.user_id = today.user_id
),

-- Also users who acted but have no profile (yet).
final as (
    select
        coalesce(activity.user_id, users.user_id, '') as user_id,
        assumeNotNull((select clock.as_of from clock)) as as_of,
        coalesce(activity.sessions, 0)::UInt64 as total_sessions,
        if(total_sessions > 0, toFloat64(activity.watch_time_ratio) / total_sessions, null) as avg_completion_ratio,
        coalesce(activity.watch_time_ms, 0)::Int64 as total_watch_time_ms,
        length(activity.watched_video_ids)::UInt64 as unique_videos_watched,
        activity.watched_video_ids as watched_video_ids,
        coalesce(activity.finished, 0)::UInt64 as finished_videos_count,
        coalesce(activity.valid_views, 0)::UInt64 as valid_views_count,
        if(total_sessions > 0, activity.effective_watch_time_ms / total_sessions, null) as avg_effective_watch_time_ms,
        dateDiff('day', users.created_at, as_of)::Nullable(Int64) as account_age_days,
        users.created_at as created_at,
        users.age as age,
        coalesce(users.gender, 'unknown') as gender,
        coalesce(users.language, '') as language,
        users.interested_categories as interested_categories,
        users.avg_daily_watch_time_ms as avg_daily_watch_time_ms,
        coalesce(users.device_type, '') as device_type,
        users.preferred_creators as preferred_creators,
        engagement.engagement_score::Nullable(Float64) as engagement_score,
        coalesce(users.region, '') as region
    from activity
    full outer join users
        on activity.user_id = users.user_id
    left join engagement
        on activity.user_id = engagement.user_id
)

select * from final
