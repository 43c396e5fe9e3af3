{#- Rows for which the expression does not hold (NULL counts as not holding). -#}
{% test expression_is_true(model, expression, column_name=none) %}
select *
from {{ model }}
where not ifnull({{ expression }}, false)
{% endtest %}
