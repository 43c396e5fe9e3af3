-- A table for the reasons of stg_users. Tagged `sessions`: a session's ratio needs the video's current duration.
-- MergeTree by video_id: small, joined and looked up by id; not partitioned, as it is always read whole.
{{ config(materialized='table', engine='MergeTree()', order_by=['video_id'], tags=['sessions']) }}

with
videos as (
    select * from {{ postgres_table(source('postgres', 'videos')) }}
),

final as (
    select
        assumeNotNull(video_id)::String as video_id,
        coalesce(creator_id, '')::String as creator_id,
        coalesce(title, '')::String as title,
        coalesce(description, '')::String as description,
        upload_time::Nullable(DateTime64(3, 'UTC')) as upload_time,
        nullIf(duration_ms, 0)::Nullable(Int64) as duration_ms,
        coalesce(category, '')::String as category,
        arrayMap(x -> assumeNotNull(x), arrayFilter(x -> isNotNull(x), tags))::Array(String) as tags,
        coalesce(language, '')::String as language,
        coalesce(sound_id, '')::String as sound_id,
        coalesce(thumbnail_url, '')::String as thumbnail_url,
        coalesce(is_trending, false)::Bool as is_trending,
        coalesce(view_count, 0)::Int64 as view_count,
        coalesce(like_count, 0)::Int64 as like_count
    from videos
)

select * from final
