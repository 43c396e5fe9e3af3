-- A view: one pass of window functions over the events that the reader asks for. ClickHouse pushes a filter on the
-- grain's columns below the windows, because they are partitioned by exactly these columns.
-- The windows start with user_id, the first column of the events' sorting key.
-- No joins here: a view is read with the reader's join_use_nulls, not ours.
{{ config(materialized='view', tags=['sessions']) }}

with
events as (
    select
        *,
        {{ is_terminal('event_type') }} as is_terminal,
        -- What the event does to playback: starts it (1), stops it (0) or leaves it as it is (NULL).
        multiIf(
            event_type in ('view_start', 'resume', 'replay'), 1,
            event_type = 'pause' or is_terminal, 0,
            null
        ) as playback_switch,
        -- At the same millisecond a session begins first and ends last.
        multiIf(event_type = 'view_start', 0, is_terminal, 2, 1) as tie_rank
    from {{ ref('stg_playback_events') }}
),

ordered as (
    select
        *,
        row_number() over (
            partition by user_id, session_id, video_id order by impression_timestamp, tie_rank, event_type, event_id
        ) as event_order,
        minOrNullIf(impression_timestamp, event_type = 'view_start') over (
            partition by user_id, session_id, video_id
        ) as play_started_at,
        max(impression_timestamp) over (partition by user_id, session_id, video_id) as last_event_at
    from events
),

-- The state after each event, and the bounds of the play.
states as (
    select
        *,
        if(
            isNull(play_started_at),
            null,
            coalesce(
                maxOrNullIf(impression_timestamp, is_terminal and impression_timestamp >= play_started_at) over (
                    partition by user_id, session_id, video_id
                ),
                last_event_at
            )
        ) as play_ended_at,
        leadInFrame(toNullable(impression_timestamp)) over (
            partition by user_id, session_id, video_id order by event_order
            rows between current row and unbounded following
        ) as next_event_at,
        coalesce(
            anyLast(playback_switch) over (
                partition by user_id, session_id, video_id order by event_order
                rows between unbounded preceding and current row
            ),
            0
        ) as is_playing,
        -- A stretch is what plays from one start, replay or seek to the next.
        countIf(event_type in ('view_start', 'replay', 'seek')) over (
            partition by user_id, session_id, video_id order by event_order
            rows between unbounded preceding and current row
        ) as stretch
    from ordered
),

-- The time played between this event and the next, inside the bounds of the play.
played as (
    select
        *,
        if(
            is_playing = 1 and play_started_at is not null,
            greatest(
                dateDiff(
                    'millisecond',
                    greatest(impression_timestamp, assumeNotNull(play_started_at)),
                    least(coalesce(next_event_at, last_event_at), assumeNotNull(play_ended_at))
                ),
                0
            ),
            0
        ) as playing_ms
    from states
),

-- Where the player stands: the last known position plus what has played since.
positions as (
    select
        *,
        coalesce(
            sum(playing_ms) over (
                partition by user_id, session_id, video_id order by event_order
                rows between unbounded preceding and 1 preceding
            ),
            0
        ) as played_before_ms,
        coalesce(playback_position_ms, if(event_type in ('view_start', 'replay'), 0, null))
        - played_before_ms as position_offset_ms
    from played
),

seeks as (
    select
        *,
        if(
            event_type = 'seek',
            greatest(
                coalesce(
                    anyLast(position_offset_ms) over (
                        partition by user_id, session_id, video_id order by event_order
                        rows between unbounded preceding and 1 preceding
                    ) + played_before_ms - playback_position_ms,
                    0
                ),
                0
            ),
            0
        ) as jumped_back_ms
    from positions
),

final as (
    select
        session_id,
        user_id,
        video_id,
        event_id,
        event_type,
        impression_timestamp,
        event_order,
        play_started_at,
        play_ended_at,
        is_playing::UInt8 as is_playing,
        playing_ms::Int64 as playing_ms,
        jumped_back_ms::Int64 as jumped_back_ms,
        -- Seeking back by 5 s shows 5 s again, unless the viewer stops or jumps on before that.
        least(
            jumped_back_ms,
            sum(playing_ms) over (partition by user_id, session_id, video_id, stretch)
        )::Int64 as rewatched_ms,
        (position_index > 0 or scroll_speed_ms > 0)::UInt8 as is_scrolled_to,
        created_at
    from seeks
)

select * from final
