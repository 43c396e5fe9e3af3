-- Every measure of a day is the same, summed over its users or over its videos.
{{ config(meta={'dagster': {'ref': {'name': 'int_daily_video_activity'}}}) }}

with
of_users as (
    select
        activity_date,
        {{ sums_of_measures() }}
    from {{ ref('int_daily_user_activity') }}
    group by activity_date
),

of_videos as (
    select
        activity_date,
        {{ sums_of_measures() }}
    from {{ ref('int_daily_video_activity') }}
    group by activity_date
),

both as (
    select
        'int_daily_user_activity' as source_table,
        *
    from of_users
    union all
    select
        'int_daily_video_activity' as source_table,
        *
    from of_videos
)

-- Where they are equal, they are two of the same.
select
    * except (source_table),
    groupArray(source_table) as said_by
from both
group by all
having length(said_by) != 2
