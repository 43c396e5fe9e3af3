{#- Drop what a killed run left: dbt-clickhouse stages an increment in `<model>__dbt_new_data_<invocation>` and drops
    it at the end. Only those older than a day, as a younger one may belong to a run in progress. -#}
{% macro drop_orphans() -%}
  {%- if execute and flags.WHICH in ('build', 'run') -%}
    {%- set stale -%}
      select name from system.tables
      where database = '{{ target.schema }}'
          and name like '%\\_\\_dbt\\_new\\_data\\_%'
          and metadata_modification_time < now() - interval 1 day
    {%- endset -%}
    {%- for row in run_query(stale).rows -%}
      {%- do log('Dropping ' ~ row[0] ~ ', left by a run that was killed', info=true) -%}
      {%- do adapter.drop_relation(api.Relation.create(schema=target.schema, identifier=row[0], type='table')) -%}
    {%- endfor -%}
  {%- endif -%}
{%- endmacro %}
