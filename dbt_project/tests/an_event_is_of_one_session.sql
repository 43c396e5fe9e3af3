-- An event_id that two sessions claim: ingestion refuses the second, so it came another way. Beyond 50 million events a
-- part of the ids each day, all of them in turn: together they would not fit in memory.
{{
    config(
        tags=['whole_table'],
        meta={'dagster': {'ref': {'name': 'stg_playback_events'}}}
    )
}}
-- Read from the table, as the view sorts everything; depends_on: {{ ref('stg_playback_events') }}

with
parts as (
    select greatest(intDiv(count(), 50000000), 1) as number_of_parts from {{ source('clickhouse', 'playback_events') }}
)

select event_id
from {{ source('clickhouse', 'playback_events') }}
where
    cityHash64(event_id) % (select parts.number_of_parts from parts)
    = toUInt32(today()) % (select parts.number_of_parts from parts)
group by event_id
having min(session_key) != max(session_key) or min(user_id) != max(user_id)
