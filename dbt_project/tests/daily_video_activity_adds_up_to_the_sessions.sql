-- Over all days, every measure of a video is the sum over their sessions as they are now: each counts once.
{{
    config(
        tags=['whole_table'],
        meta={'dagster': {'ref': {'name': 'int_daily_video_activity'}}}
    )
}}

with
both as (
    select
        video_id,
        {% for measure in measures() -%}
            {{ measure }}{{ ',' if not loop.last }}
        {% endfor %}
    from {{ ref('int_daily_video_activity') }}
    union all
    select
        video_id,
        -1 as sessions,
        -total_watch_time_ms as watch_time_ms,
        -watch_sessions.effective_watch_time_ms as effective_watch_time_ms,
        -toDecimal128(least(watch_sessions.watch_time_ratio, 1000000), 6) as watch_time_ratio,
        -is_finished as finished,
        -is_valid_view as valid_views,
        -was_played as plays,
        -(watch_sessions.watch_time_ratio > 0.7) as engaged,
        -watch_sessions.scrolled_in as scrolled_in,
        -watch_sessions.scrolled_out as scrolled_out,
        -(exit_reason = 'end_video') as completed,
        -num_likes as likes,
        -num_comments as comments,
        -num_shares as shares,
        -num_saves as saves,
        -num_follows as follows
    from {{ ref('watch_sessions') }}
),

-- What the days have more than the sessions.
differences as (
    select
        video_id,
        {{ sums_of_measures() }}
    from both
    group by video_id
)

select *
from differences
where
    {% for measure in measures() -%}
        {{ measure }} != 0 {{ 'or' if not loop.last }}
    {% endfor %}
