{#- Keys of the model's grain that more than one row has. -#}
{% test unique_grain(model, columns) %}
select
    {{ columns | join(', ') }},
    count() as copies
from {{ model }}
group by {{ columns | join(', ') }}
having copies > 1
{% endtest %}
