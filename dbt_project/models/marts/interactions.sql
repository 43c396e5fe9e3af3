-- A view: every column follows from the session's row, so a table would only be a second copy that can go stale.
{{ config(materialized='view') }}

with
sessions as (
    select * from {{ ref('watch_sessions') }}
),

final as (
    select
        session_id,
        user_id,
        video_id,
        started_at,
        ended_at,
        total_watch_time_ms,
        video_duration_ms,
        watch_time_ratio,
        (num_likes > 0)::UInt8 as liked,
        (num_comments > 0)::UInt8 as commented,
        (num_shares > 0)::UInt8 as shared,
        (num_follows > 0)::UInt8 as followed,
        (num_saves > 0)::UInt8 as saved,
        (
            watch_time_ratio >= 0.7 or liked or commented or shared or followed or saved
        )::UInt8 as is_positive,
        5 * least(watch_time_ratio, 1.0) as rating,
        least(watch_time_ratio, 1.0) + liked + commented + shared + followed + saved as weight
    from sessions
)

select * from final
