{#- "Now" of every window: the data's own clock, so that a data set of 2022 has recent activity. Events from the future (a
    device's wrong clock) are no part of it: ClickHouse looks among the others only if there are any, as the newest of all is
    known without reading the table. The var `as_of` sets it to any moment. -#}
{% macro as_of() -%}
  {%- if var('as_of') is not none -%}
    toDateTime64('{{ var("as_of") }}', 3, 'UTC')
  {%- else -%}
    {%- set events = source('clickhouse', 'playback_events') -%}
    (
        select if(newest <= now64(3, 'UTC'), newest, newest_until_now)
        from (
            select
                (select max(impression_timestamp) from {{ events }}) as newest,
                (
                    select max(impression_timestamp) from {{ events }}
                    where
                        (select max(impression_timestamp) > now64(3, 'UTC') from {{ events }})
                        and impression_timestamp <= now64(3, 'UTC')
                ) as newest_until_now
        )
    )
  {%- endif -%}
{%- endmacro %}
