{#- Over all days, every measure of a user or video is the sum over their sessions as they are: each counts once. -#}
{% test adds_up_to_the_sessions(model, id) %}
with
by_day as (
    select
        {{ id }},
        {{ sums_of_measures() }}
    from {{ model }}
    group by {{ id }}
),

by_session as (
    select
        {{ id }},
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
    group by {{ id }}
),

both as (
    select
        'days' as source_table,
        *
    from by_day
    union all
    select
        'sessions' as source_table,
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
{% endtest %}
