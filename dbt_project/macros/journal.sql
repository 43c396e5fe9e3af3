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

{#- The first build is of everything, whatever the journal says. This row, of no user, stays in it until that build is done:
    if it was killed, the next run finds the row, and then asks for every session. -#}
{% macro ask_for_everything_at_first() -%}
  {%- if load_relation(this) is none -%}
  insert into {{ journal('touched_sessions') }} (user_id, session_key) values ('', 0)
  {%- elif is_incremental() -%}
  insert into {{ journal('touched_sessions') }} (user_id, session_key)
  select
      user_id,
      session_key
  from {{ source('clickhouse', 'playback_events') }}
  where (select count() from {{ journal('touched_sessions') }} as touched where touched.user_id = '') > 0
  group by user_id, session_key
  settings optimize_aggregation_in_order = 1
  {%- endif -%}
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

{#- Sessions whose video's duration has become known, or was corrected, since they were built. A video that is only new in
    the catalogue was used by none: nothing is looked for. -#}
{% macro touch_sessions_of_changed_videos() -%}
  {%- if is_incremental() -%}
  insert into {{ journal('touched_sessions') }} (user_id, session_key)
  select distinct
      user_id,
      session_key
  from {{ this }}
  where
      (select count() from ({{ changed_durations() }}) where was_used) > 0
      and video_id in (select changed.video_id from ({{ changed_durations() }}) as changed where changed.was_used)
  {%- endif -%}
{%- endmacro %}

{#- What the sessions of each video were built with; of videos that the catalogue lacks, the default. -#}
{% macro remember_durations() -%}
  insert into {{ journal('session_durations') }} (video_id, duration_ms)
  select
      video_id,
      duration_ms
  from ({{ changed_durations() }})
  union all
  select distinct
      video_id,
      {{ var('default_video_duration_ms') }}::Int64 as duration_ms
  from {{ this }}
  where
      video_id not in (select known.video_id from {{ ref('stg_videos') }} as known)
      {%- if is_incremental() %}
      and {{ of_touched_sessions() }}
      {%- endif %}
{%- endmacro %}

{#- The videos whose sessions were built, or would have been, with another duration than the catalogue has now; whether there
    are such sessions (`was_used`). -#}
{% macro changed_durations() -%}
  {%- set default = var('default_video_duration_ms') -%}
  select
      coalesce(videos.video_id, used.video_id, '') as video_id,
      coalesce(videos.duration_ms, {{ default }})::Int64 as duration_ms,
      used.video_id is not null as was_used
  from {{ ref('stg_videos') }} as videos
  full outer join (select video_id, duration_ms from {{ journal('session_durations') }} final) as used
      on videos.video_id = used.video_id
  where used.duration_ms is null or coalesce(videos.duration_ms, {{ default }}) != used.duration_ms
{%- endmacro %}

{#- Rows of the states that the touched sessions have. -#}
{% macro of_touched_sessions() -%}
  session_key in (select touched.session_key from {{ journal('touched_sessions') }} as touched)
      and indexHint(user_id in (select touched.user_id from {{ journal('touched_sessions') }} as touched))
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
      {{ of_touched_sessions() }}
    {%- endif -%}
  {%- endif -%}
{%- endmacro %}

{% macro take_days() -%}
  alter table {{ journal('activity_inbox') }} move partition '{{ this.identifier }}' to table {{ journal('touched_days') }}
{%- endmacro %}

{% macro forget_days() -%}
  alter table {{ journal('touched_days') }} drop partition '{{ this.identifier }}'
{%- endmacro %}

{#- The first build is of every day: they are in the journal until it is done, so one that was killed is made good. -#}
{% macro ask_for_every_day_at_first(changes) -%}
  {%- if load_relation(this) is none -%}
  insert into {{ journal('touched_days') }} (model, activity_date)
  select distinct
      '{{ this.identifier }}' as model,
      activity_date
  from {{ changes }}
  {%- endif -%}
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


{#- Fails while sessions are being rebuilt: whoever reads them between the delete and the insert misses some. A run takes what
    it rebuilds long before it deletes, so right after this, nothing is missing. -#}
{% macro no_rebuild_is_under_way() -%}
  select throwIf(
      (select count() from {{ journal('touched_sessions') }}) > 0,
      'sessions are being rebuilt, or were when a run was killed: try again when sessions_job is done'
  )
{%- endmacro %}
