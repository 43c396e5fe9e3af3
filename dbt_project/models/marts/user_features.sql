-- MergeTree by user_id: one row a user, looked up and exported by id; not partitioned, as it is replaced whole.
{{
    config(
        materialized='table',
        engine='MergeTree()',
        order_by=['user_id'],
        query_settings={
            'optimize_aggregation_in_order': 1,
            'join_algorithm': 'hash',
            'query_plan_join_swap_table': 'false',
        }
    )
}}
-- The join keeps its sides: the planner would take the long lists for the hash table. The lists are not sorted: 600 ids
-- a user in a window, a quarter of the model's time.

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
        groupArrayArray(played_video_ids) as video_ids
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

-- What is small comes together first, so that the long lists of `whole_days` are copied by one join. Also users who
-- acted but have no profile (yet).
known as (
    select
        coalesce(today.user_id, users.user_id, engagement.user_id, '') as user_id,
        {%- for measure in measures() %}
        today.{{ measure }} as {{ measure }},
        {%- endfor %}
        today.video_ids as video_ids,
        users.created_at as created_at,
        users.age as age,
        coalesce(users.gender, 'unknown') as gender,
        coalesce(users.language, '') as language,
        users.interested_categories as interested_categories,
        users.avg_daily_watch_time_ms as avg_daily_watch_time_ms,
        coalesce(users.device_type, '') as device_type,
        users.preferred_creators as preferred_creators,
        engagement.engagement_score as engagement_score,
        coalesce(users.region, '') as region
    from today
    full outer join users
        on today.user_id = users.user_id
    full outer join engagement
        on coalesce(today.user_id, users.user_id) = engagement.user_id
),

activity as (
    select
        coalesce(known.user_id, whole_days.user_id, '') as user_id,
        {{ sums_of_both_halves('known') }},
        arrayDistinct(arrayConcat(whole_days.video_ids, known.video_ids)) as watched_video_ids,
        known.created_at as created_at,
        known.age as age,
        coalesce(known.gender, 'unknown') as gender,
        coalesce(known.language, '') as language,
        known.interested_categories as interested_categories,
        known.avg_daily_watch_time_ms as avg_daily_watch_time_ms,
        coalesce(known.device_type, '') as device_type,
        known.preferred_creators as preferred_creators,
        known.engagement_score as engagement_score,
        coalesce(known.region, '') as region
    from whole_days
    full outer join known
        on whole_days.user_id = known.user_id
),

final as (
    select
        user_id,
        assumeNotNull((select clock.as_of from clock)) as as_of,
        sessions::UInt64 as total_sessions,
        if(total_sessions > 0, toFloat64(watch_time_ratio) / total_sessions, null) as avg_completion_ratio,
        watch_time_ms::Int64 as total_watch_time_ms,
        length(watched_video_ids)::UInt64 as unique_videos_watched,
        watched_video_ids,
        finished::UInt64 as finished_videos_count,
        valid_views::UInt64 as valid_views_count,
        if(total_sessions > 0, effective_watch_time_ms / total_sessions, null) as avg_effective_watch_time_ms,
        dateDiff('day', created_at, as_of)::Nullable(Int64) as account_age_days,
        created_at,
        age,
        gender,
        language,
        interested_categories,
        avg_daily_watch_time_ms,
        device_type,
        preferred_creators,
        engagement_score::Nullable(Float64) as engagement_score,
        region
    from activity
)

select * from final
