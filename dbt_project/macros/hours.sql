{#- Hours as milliseconds since 1970: ClickHouse's toStartOfHour is wrong outside of 1970 to 2106, where a broken clock may
    put an event. -#}
{% macro start_of_hour_ms(ms) -%}
  ({{ ms }} - positiveModulo({{ ms }}, 3600000))
{%- endmacro %}

{#- 2299-12-31 23:00:00 UTC, the last hour that a DateTime64 can hold: "never superseded". -#}
{% macro never_ms() -%}
  10413788400000
{%- endmacro %}
