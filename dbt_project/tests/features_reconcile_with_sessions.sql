-- Both feature tables count the same sessions, none of which ended after "now".
with
clock as (
    select {{ as_of() }} as as_of
),

sessions as (
    {{ feature_sessions() }}
),

counts as (
    select
        (select count() from sessions) as in_window,
        (select sum(total_sessions) from {{ ref('user_features') }}) as by_user,
        (select sum(total_sessions) from {{ ref('video_features') }}) as by_video
)

select * from counts
where in_window != by_user or in_window != by_video
