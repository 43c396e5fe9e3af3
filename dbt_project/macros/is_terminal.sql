{#- The events that end a play. -#}
{% macro is_terminal(event_type) -%}
  {{ event_type }} in ('view_end', 'scroll_pass', 'click')
{%- endmacro %}
