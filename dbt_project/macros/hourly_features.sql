{#- What was known of a user or a video at the start of an hour, for every hour that a training row asks about: the whole days
    before that are in the window, and the earlier hours of the day itself. So it is what a warehouse built from the events before
    that hour would say, and no later event can change it (docs/adr/0002).

    Each step is the body of a CTE; they follow on one called `span` with first_day and last_day. `sums` is a list of (name,
    expression, days before): a sum of the expression over the changes, or over the rows of a daily table. Questions and answers
    are united and sorted, not joined: what does not fit in memory is sorted on disk. -#}

{#- The days that a daily table has still to rebuild, as a subquery. -#}
{% macro waiting_days(daily_name) -%}
  (
        select pending.activity_date from {{ journal('activity_inbox') }} as pending where pending.model = '{{ daily_name }}'
        union all
        select pending.activity_date from {{ journal('touched_days') }} as pending where pending.model = '{{ daily_name }}'
    )
{%- endmacro %}

{#- A daily table as if it had just been rebuilt: the days that wait for it (macros/journal.sql) are summed from the changes. -#}
{% macro days_as_of_now(daily, daily_name, changes, id, sums) -%}
    select
        {{ id }},
        activity_date,
        {%- for name, expression, days in sums %}
        ({{ expression }})::Int64 as {{ name }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ daily }}
    where {{ in_reach(sums) }} and activity_date not in {{ waiting_days(daily_name) }}
    union all
    select
        {{ id }},
        activity_date,
        {%- for name, expression, days in sums %}
        sum({{ expression }})::Int64 as {{ name }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ changes }}
    where {{ in_reach(sums) }} and activity_date in {{ waiting_days(daily_name) }}
    group by {{ id }}, activity_date
{%- endmacro %}

{#- The days that a sum of the span's days reads. -#}
{% macro in_reach(sums) -%}
  activity_date <= (select span.last_day from span)
  {%- if sums | map(attribute=2) | select('string') | list | length == 0 %}
        and activity_date >= (select span.first_day from span) - {{ sums | map(attribute=2) | max }}
  {%- endif %}
{%- endmacro %}

{#- The questions, each with the sums of the whole days before. -#}
{% macro openings(days, interactions, id, sums) -%}
    select
        {{ id }},
        activity_date,
        hour_of_day,
        asks,
        {%- for name, expression, days_before in sums %}
        sum({{ name }}) over (
            partition by {{ id }} order by activity_date range between {{ days_before }} preceding and 1 preceding
        ) as opening_{{ name }}{{ ',' if not loop.last }}
        {%- endfor %}
    from (
        select
            *,
            0::Int64 as hour_of_day,
            0::UInt8 as asks
        from {{ days }}
        union all
        select
            {{ id }},
            toDate32(hour) as activity_date,
            {%- for name, expression, days_before in sums %}
            0::Int64 as {{ name }},
            {%- endfor %}
            {{ hour_of_day('hour') }} as hour_of_day,
            1::UInt8 as asks
        from {{ interactions }}
        group by hour, {{ id }}
    )
{%- endmacro %}

{#- The same questions, among the changes of their day. -#}
{% macro lines_of_days(openings, changes, id, sums) -%}
    select
        {{ id }},
        activity_date,
        hour_of_day,
        asks,
        {%- for name, expression, days_before in sums %}
        opening_{{ name }} as {{ name }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ openings }}
    where asks = 1
    union all
    select
        {{ id }},
        activity_date,
        {{ hour_of_day('hour') }} as hour_of_day,
        0::UInt8 as asks,
        {%- for name, expression, days_before in sums %}
        ({{ expression }})::Int64 as {{ name }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ changes }}
    where activity_date between (select span.first_day from span) and (select span.last_day from span)
{%- endmacro %}

{#- Each question with the sums of all before its hour. The day comes first, as integers sort faster than ids. -#}
{% macro hourly_sums(lines, id, sums) -%}
    select
        {{ id }},
        fromUnixTimestamp64Milli(86400000 * toInt64(activity_date) + 3600000 * hour_of_day, 'UTC') as hour,
        asks,
        {%- for name, expression, days_before in sums %}
        {{ lines }}.{{ name }} + sumIf({{ lines }}.{{ name }}, {{ lines }}.asks = 0) over before_the_hour as {{ name }}
        {{- ',' if not loop.last }}
        {%- endfor %}
    from {{ lines }}
    window before_the_hour as (
        partition by activity_date, {{ id }} order by hour_of_day
        range between unbounded preceding and 1 preceding
    )
{%- endmacro %}

{#- From 0, by arithmetic, as in macros/hours.sql. -#}
{% macro hour_of_day(hour) -%}
  positiveModulo(intDiv(toUnixTimestamp64Milli({{ hour }}), 3600000), 24)::Int64
{%- endmacro %}

{#- Bytes that one sort or sum may hold before it goes on on disk; several are under way at once, one or two on each core. -#}
{% macro spill_settings() -%}
  {{ return({
    'max_bytes_before_external_sort': 256000000,
    'prefer_external_sort_block_bytes': 4000000,
    'max_bytes_before_external_group_by': 256000000,
    'optimize_aggregation_in_order': 1,
  }) }}
{%- endmacro %}
