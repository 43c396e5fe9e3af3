-- Every measure of a day is the same, summed over its users or over its videos.
{{ config(meta={'dagster': {'ref': {'name': 'int_daily_video_activity'}}}) }}

with
both as (
    select
        activity_date,
        {% for measure in measures() -%}
            {{ measure }}{{ ',' if not loop.last }}
        {% endfor %}
    from {{ ref('int_daily_user_activity') }}
    union all
    select
        activity_date,
        {% for measure in measures() -%}
            -days.{{ measure }} as {{ measure }}{{ ',' if not loop.last }}
        {% endfor %}
    from {{ ref('int_daily_video_activity') }} as days
),

-- What the users have more than the videos.
differences as (
    select
        activity_date,
        {{ sums_of_measures() }}
    from both
    group by activity_date
)

select *
from differences
where
    {% for measure in measures() -%}
        {{ measure }} != 0 {{ 'or' if not loop.last }}
    {% endfor %}
