-- MergeTree by hour, then the order of the training set: read hour by hour, each beside the features of that hour, and
-- written to parquet as it comes. Not partitioned, as it is replaced whole.
{{
    config(
        materialized='table',
        engine='MergeTree()',
        order_by=['hour', 'started_at', 'session_id', 'user_id', 'video_id'],
        tags=['training'],
        pre_hook=["{{ no_rebuild_is_under_way() }}"]
    )
}}

with
clock as (
    select {{ as_of() }} as as_of
),

interactions as (
    select * from {{ ref('interactions') }}
),

final as (
    select
        fromUnixTimestamp64Milli({{ start_of_hour_ms('toUnixTimestamp64Milli(started_at)') }}, 'UTC') as hour,
        session_id,
        user_id,
        video_id,
        started_at,
        ended_at,
        total_watch_time_ms,
        video_duration_ms,
        watch_time_ratio,
        rating,
        weight,
        is_positive,
        assumeNotNull((select clock.as_of from clock)) as as_of,
        {{ var('training_window_days', 90) }}::UInt16 as window_days,
        {{ var('training_min_watch_time_ratio', 0.1) }}::Float64 as min_watch_time_ratio
    from interactions
    where
        started_at >= (select clock.as_of from clock) - interval {{ var('training_window_days', 90) }} day
        {%- if var('training_start', none) is not none %}
        and started_at >= toDateTime64('{{ var("training_start") }}', 3, 'UTC')
        {%- endif %}
        and started_at < (select clock.as_of from clock)
        -- A session still running at as_of would bring in watch time from after it.
        and ended_at <= (select clock.as_of from clock)
        and watch_time_ratio > {{ var('training_min_watch_time_ratio', 0.1) }}
)

select * from final
