-- MergeTree by user_id: one row a user, written back to Postgres by id; not partitioned, as it is replaced whole.
{{ config(materialized='table', engine='MergeTree()', order_by=['user_id']) }}

with
clock as (
    select {{ as_of() }} as as_of
),

activity as (
    select
        user_id,
        sessions,
        engaged,
        likes,
        shares,
        comments
    from {{ ref('int_daily_user_activity') }}
    where {{ whole_days_of_window() }}
    union all
    select
        user_id,
        sessions,
        engaged,
        likes,
        shares,
        comments
    from {{ ref('int_session_changes') }}
    where {{ day_until_as_of() }}
),

totals as (
    select
        user_id,
        sum(sessions) as total_sessions,
        sum(engaged) as engaged_sessions,
        sum(likes) as like_count,
        sum(shares) as share_count,
        sum(comments) as comment_count
    from activity
    group by user_id
    having total_sessions > 0
),

final as (
    select
        user_id,
        assumeNotNull((select clock.as_of from clock)) as as_of,
        total_sessions::UInt64 as total_sessions,
        engaged_sessions::Int64 as engaged_sessions,
        like_count::Int64 as like_count,
        share_count::Int64 as share_count,
        comment_count::Int64 as comment_count,
        -- R1.3: mean per session of 1 * (watch_time_ratio > 0.7) + 0.3 * likes + 0.4 * shares + 0.4 * comments.
        round(
            (10 * engaged_sessions + 3 * like_count + 4 * share_count + 4 * comment_count) / (10 * total_sessions), 2
        )::Float64 as engagement_score
    from totals
)

select * from final
