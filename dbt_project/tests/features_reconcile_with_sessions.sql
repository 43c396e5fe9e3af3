-- What each feature row counts is F(as_of) - F(start of the window), where F(x) is the sum over all sessions as they
-- stood at x (docs/adr/0002): here straight from the states, by the clock that the features were built with.
{{ config(tags=['whole_table'], meta={'dagster': {'ref': {'name': 'user_features'}}}) }}

{#- 1 for a state in F(as_of), -1 for one in F(the start of the last `days` days), 0 for one in neither or both. -#}
{% set in_last_days -%}
    (ended_at <= as_of and next_ended_at > as_of)::Int64
        - (toDate32(ended_at) <= toDate32(as_of) - DAYS and toDate32(next_ended_at) > toDate32(as_of) - DAYS)::Int64
{%- endset %}
{% set in_window = in_last_days | replace('DAYS', var('feature_window_days') | string) %}

with
of_users as (
    select
        user_id,
        (select max(features.as_of) from {{ ref('user_features') }} as features) as as_of,
        {{ in_window }} as times,
        [
            times, times * total_watch_time_ms, times * is_finished, times * is_valid_view
        ] as counts
    from {{ ref('int_session_states') }}
),

of_videos as (
    select
        video_id,
        (select max(features.as_of) from {{ ref('video_features') }} as features) as as_of,
        {{ in_window }} as times,
        {{ in_last_days | replace('DAYS', '7') }} as times_in_7d,
        (ended_at <= as_of and next_ended_at > as_of)::Int64 as times_ever,
        [
            times, times * is_finished, times * is_valid_view, times * scrolled_in, times * scrolled_out,
            times * num_likes, times * num_shares, times * num_comments, times * num_saves,
            times_in_7d * was_played, times_ever * was_played
        ] as counts,
        times * (exit_reason = 'end_video') as completed
    from {{ ref('int_session_states') }}
),

both as (
    select
        'user_features' as feature_table,
        user_id as id,
        [
            total_sessions::Int64, total_watch_time_ms, finished_videos_count::Int64, valid_views_count::Int64
        ] as counts
    from {{ ref('user_features') }}
    union all
    select
        'user_features' as feature_table,
        user_id as id,
        arrayMap(n -> -n, sumForEach(of_users.counts)) as counts
    from of_users
    group by user_id
    union all
    select
        'video_features' as feature_table,
        video_id as id,
        arrayMap(
            n -> n::Int64,
            [
                total_sessions, finished_count, valid_view_count, scroll_in_count, scrolled_away_count,
                like_count, share_count, comment_count, save_count, plays_7d, plays_cumulative, completed_sessions
            ]
        ) as counts
    from {{ ref('video_features') }}
    union all
    select
        'video_features' as feature_table,
        video_id as id,
        arrayMap(n -> -n, arrayPushBack(sumForEach(of_videos.counts), greatest(sum(completed), 0))) as counts
    from of_videos
    group by video_id
),

-- What the features have more than the sessions, count by count.
differences as (
    select
        feature_table,
        id,
        sumForEach(counts) as differences
    from both
    group by feature_table, id
)

select *
from differences
where arrayExists(n -> n != 0, differences)
