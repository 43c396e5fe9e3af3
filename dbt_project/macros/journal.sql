{#- Which sessions and days to rebuild: taken when a model starts, forgotten when it has written. The hooks of
    int_session_states and of the daily tables.

    An inbox moves in one atomic step, so what arrives meanwhile waits for the next run; it joins what a killed run left.
    The table it moves to is emptied after the model has written, so a kill at any point costs a repetition, no row. -#}

{#- A table of the journal: made by ingestion's schema, no part of the lineage. -#}
{% macro journal(name) -%}
  `{{ target.schema if target is defined else this.schema }}`.`{{ name }}`
{%- endmacro %}

{% macro take_sessions() -%}
  alter table {{ journal('session_inbox') }} move partition tuple() to table {{ journal('touched_sessions') }}
{%- endmacro %}

{#- The sessions that the next run will rebuild, as a subquery. -#}
{% macro waiting_sessions() -%}
  (
        select session_key from {{ journal('session_inbox') }}
        union all
        select session_key from {{ journal('touched_sessions') }}
    )
{%- endmacro %}

{% macro forget_sessions() -%}
  truncate table {{ journal('touched_sessions') }}
{%- endmacro %}

{#- Sessions whose video's duration has become known, or was corrected, since they were built. -#}
{% macro touch_sessions_of_changed_videos() -%}
  {%- if is_incremental() -%}
  insert into {{ journal('touched_sessions') }} (user_id, session_key)
  select distinct
      user_id,
      session_key
  from {{ this }}
  where
      (select count() from ({{ changed_durations() }})) > 0
      and video_id in (select changed.video_id from ({{ changed_durations() }}) as changed)
  {%- endif -%}
{%- endmacro %}

{% macro remember_durations() -%}
  insert into {{ journal('session_durations') }} (video_id, duration_ms)
  {{ changed_durations() }}
{%- endmacro %}

{#- The videos whose sessions were built with another duration than the catalogue has now. -#}
{% macro changed_durations() -%}
  {%- set default = var('default_video_duration_ms') -%}
  select
      coalesce(videos.video_id, used.video_id, '') as video_id,
      coalesce(videos.duration_ms, {{ default }})::Int64 as duration_ms
  from {{ ref('stg_videos') }} as videos
  full outer join (select video_id, duration_ms from {{ journal('session_durations') }} final) as used
      on videos.video_id = used.video_id
  where coalesce(videos.duration_ms, {{ default }}) != coalesce(used.duration_ms, {{ default }})
{%- endmacro %}

{#- The days on which the sessions to rebuild have rows, for each daily table; asked before and after, as a session may
    leave a day. The run that makes the table knows of it only afterwards (`is_built`), and then touches every day. -#}
{% macro touch_days(is_built=false) -%}
  {%- set there = load_relation(this) -%}
  {%- if is_built or there is not none and there.type == 'table' -%}
  insert into {{ journal('activity_inbox') }} (model, activity_date)
  select distinct
      arrayJoin(['int_daily_user_activity', 'int_daily_video_activity']) as model,
      toDate32(hour) as activity_date
  from {{ this }}
    {%- if is_incremental() %}
  where
      session_key in (select touched.session_key from {{ journal('touched_sessions') }} as touched)
      and indexHint(user_id in (select touched.user_id from {{ journal('touched_sessions') }} as touched))
    {%- endif -%}
  {%- endif -%}
{%- endmacro %}

{% macro take_days() -%}
  alter table {{ journal('activity_inbox') }} move partition '{{ this.identifier }}' to table {{ journal('touched_days') }}
{%- endmacro %}

{% macro forget_days() -%}
  alter table {{ journal('touched_days') }} drop partition '{{ this.identifier }}'
{%- endmacro %}

{#- The days of this table to rebuild, as a subquery. -#}
{% macro touched_days() -%}
  (select touched.activity_date from {{ journal('touched_days') }} as touched where touched.model = '{{ this.identifier }}')
{%- endmacro %}

{% macro delete_touched_days() -%}
  {%- if is_incremental() -%}
  delete from {{ this }} where activity_date in {{ touched_days() }}
  {%- endif -%}
{%- endmacro %}
