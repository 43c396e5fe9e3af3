-- A view: arithmetic on a state's own row. No joins here: a view is read with the reader's join_use_nulls.
-- A union, so that a filter on activity_date reaches the table's order in the first half; the second half is small.
{{ config(materialized='view') }}

with
states as (
    select * from {{ ref('int_session_states') }}
),

-- A state adds itself in its hour ...
added as (
    {{ session_changes('states', 'hour', 'ended_at', 1) }}
),

-- ... and takes itself away in the hour of the one that supersedes it, once that has ended: always one of both counts.
superseded as (
    {{ session_changes('states', 'superseded_at', 'next_ended_at', -1) }}
    where states.is_latest = 0
),

final as (
    select * from added
    union all
    select * from superseded
)

select * from final
