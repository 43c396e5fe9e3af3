{#- "Now" of every window: the data's own clock, so that a data set of 2022 has recent activity. An event from the
    future (a device's wrong clock) can't push it past the real time. The var `as_of` sets it to any moment. -#}
{% macro as_of() -%}
  {%- if var('as_of') is not none -%}
    toDateTime64('{{ var("as_of") }}', 3, 'UTC')
  {%- else -%}
    (
        select least(max(events.impression_timestamp), now64(3, 'UTC'))
        from {{ source('clickhouse', 'playback_events') }} as events
    )
  {%- endif -%}
{%- endmacro %}
