{#- The window of the features: the last `feature_window_days` days of UTC, as_of's own included, up to as_of. Whole days come
    from a daily table; as_of's day is summed from the changes, so that nothing after as_of is in it. Expects a CTE `clock`. -#}
{% macro as_of_day() -%}
  (select toDate32(clock.as_of) from clock)
{%- endmacro %}

{% macro whole_days_of_window() -%}
  activity_date > {{ as_of_day() }} - {{ var('feature_window_days') }} and activity_date < {{ as_of_day() }}
{%- endmacro %}

{% macro day_until_as_of() -%}
  activity_date = {{ as_of_day() }} and ended_at <= (select clock.as_of from clock)
{%- endmacro %}

{#- The sums of both halves of a full outer join of `whole_days` and the rest of the window. -#}
{% macro sums_of_both_halves(rest='today') -%}
        {%- for measure in measures() %}
        coalesce(whole_days.{{ measure }}, 0) + coalesce({{ rest }}.{{ measure }}, 0) as {{ measure }}{{ ',' if not loop.last }}
        {%- endfor %}
{%- endmacro %}
