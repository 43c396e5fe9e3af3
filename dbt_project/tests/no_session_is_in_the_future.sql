-- A device's wrong clock. Such a session is kept, but no feature sees it, so this warns and blocks nothing.
{{ config(severity='warn', tags=['sessions']) }}

select
    session_id,
    user_id,
    video_id,
    ended_at
from {{ ref('watch_sessions') }}
where ended_at > now64(3, 'UTC')
