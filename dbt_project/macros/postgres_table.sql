{#- A table of Postgres, read by ClickHouse itself. The named collection holds address and credentials, so neither
    appears in SQL or in dbt's artifacts; the source is passed in so that lineage shows it. -#}
{% macro postgres_table(relation) -%}
  postgresql({{ var('postgres_collection', 'reelgraph_postgres') }}, table = '{{ relation.identifier }}')
{%- endmacro %}
