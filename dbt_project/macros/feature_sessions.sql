{#- The sessions that a feature may see: over by "now", and begun in the window before it. Expects a CTE `clock`. -#}
{% macro feature_sessions() -%}
    select *
    from {{ ref('watch_sessions') }}
    where
        ended_at <= (select clock.as_of from clock)
        and started_at > (select clock.as_of - interval {{ var('feature_window_days') }} day from clock)
{%- endmacro %}
