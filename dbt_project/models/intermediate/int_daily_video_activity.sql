-- MergeTree by video, then day: a window of days is read as one run per video and summed without a hash table.
-- Partitioned by month, as the states are. Days are rebuilt whole: those of `touched_days` (docs/adr/0002).
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        engine='MergeTree()',
        order_by=['video_id', 'activity_date'],
        partition_by='toYYYYMM(activity_date)',
        query_settings={'max_partitions_per_insert_block': 0, 'lightweight_deletes_sync': 2},
        pre_hook=[
            "{{ take_days() }}",
            "{{ ask_for_every_day_at_first(ref('int_session_changes')) }}",
            "{{ delete_touched_days() }}",
        ],
        post_hook=["{{ forget_days() }}"]
    )
}}

with
changes as (
    select * from {{ ref('int_session_changes') }}
    {% if is_incremental() -%}
    where activity_date in {{ touched_days() }}
    {%- endif %}
),

final as (
    select
        activity_date,
        video_id,
        {{ sums_of_measures() }},
        arraySort(groupUniqArray(cityHash64(user_id))) as viewers
    from changes
    group by activity_date, video_id
)

select * from final
