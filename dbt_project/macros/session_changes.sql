{#- What session states add to (sign 1) or take from (sign -1) the sums of the hour `at`, for whoever asks from `ended_at` on.
    Every measure can be summed over any set of changes, exactly. -#}
{% macro session_changes(states, at, ended_at, sign) -%}
    select
        session_key,
        session_id,
        user_id,
        video_id,
        {{ states }}.{{ at }} as hour,
        toDate32({{ states }}.{{ at }}) as activity_date,
        {{ states }}.{{ ended_at }} as ended_at,
        was_played,
        {{ sign }}::Int8 as sign,
        {{ sign }}::Int64 as sessions,
        {{ sign }} * total_watch_time_ms as watch_time_ms,
        {{ sign }} * {{ states }}.effective_watch_time_ms as effective_watch_time_ms,
        -- Exact: a sum of floats depends on the order of its terms. No sane ratio is above a million.
        {{ sign }} * toDecimal64(least({{ states }}.watch_time_ratio, 1000000), 6) as watch_time_ratio,
        ({{ sign }} * is_finished)::Int64 as finished,
        ({{ sign }} * is_valid_view)::Int64 as valid_views,
        ({{ sign }} * {{ states }}.was_played)::Int64 as plays,
        ({{ sign }} * ({{ states }}.watch_time_ratio > 0.7))::Int64 as engaged,
        ({{ sign }} * {{ states }}.scrolled_in)::Int64 as scrolled_in,
        ({{ sign }} * {{ states }}.scrolled_out)::Int64 as scrolled_out,
        ({{ sign }} * (exit_reason = 'end_video'))::Int64 as completed,
        ({{ sign }} * num_likes::Int64) as likes,
        ({{ sign }} * num_comments::Int64) as comments,
        ({{ sign }} * num_shares::Int64) as shares,
        ({{ sign }} * num_saves::Int64) as saves,
        ({{ sign }} * num_follows::Int64) as follows
    from {{ states }}
{%- endmacro %}

{#- The measures of session_changes that a daily table sums. -#}
{% macro measures() -%}
  {{ return([
    'sessions', 'watch_time_ms', 'effective_watch_time_ms', 'watch_time_ratio', 'finished', 'valid_views', 'plays', 'engaged',
    'scrolled_in', 'scrolled_out', 'completed', 'likes', 'comments', 'shares', 'saves', 'follows',
  ]) }}
{%- endmacro %}

{#- Their sums, under their own names. -#}
{% macro sums_of_measures() -%}
        {%- for measure in measures() %}
        sum({{ measure }}) as {{ measure }}{{ ',' if not loop.last }}
        {%- endfor %}
{%- endmacro %}
