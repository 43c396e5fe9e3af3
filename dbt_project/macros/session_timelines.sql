{#- The state machine of a session, as arrays: one row per session, element i of each array is its i-th event. One pass of
    GROUP BY over the events (in the order of their table, so that memory stays flat) and arithmetic on short arrays; window
    functions over the events give the same and cost five times as much.

    Three steps, each the body of a CTE:
      session_deliveries   gathers what was delivered of each session
      session_timeline     events once each, in order
      playback_states      what plays after each event, and for how long -#}

{#- Positions in the tuple of an event. -#}
{% macro event_tuple() -%}
tuple(
            impression_timestamp, -- .1
            -- .2: at the same millisecond a session begins first and ends last
            multiIf(event_type = 'view_start', 0, {{ is_terminal('event_type') }}, 2, 1),
            event_type, -- .3
            event_id, -- .4
            created_at, -- .5
            playback_position_ms, -- .6
            (position_index > 0 or scroll_speed_ms > 0)::UInt8 -- .7
        )
{%- endmacro %}

{#- An event counts once: the newest delivery of it, by the order of stg_playback_events. Sessions in which no event came
    twice, almost all, skip the sort. -#}
{% macro distinct_events(deliveries) -%}
if(
            length(arrayDistinct({{ deliveries }}.4)) = length({{ deliveries }}),
            {{ deliveries }},
            arrayFilter(
                (event, occurrence) -> occurrence = 1,
                arraySort(
                    e -> (
                        e.4,
                        -toUnixTimestamp64Milli(e.5),
                        -toUnixTimestamp64Milli(e.1),
                        e.3,
                        ifNull(e.6::Nullable(Int64), 4294967296),
                        e.7
                    ),
                    {{ deliveries }}
                ) as by_id,
                arrayEnumerateUniq(by_id.4)
            )
        )
{%- endmacro %}

{#- From a CTE with `events` (sorted tuples) to the arrays of playback. All times are milliseconds since 1970. -#}
{% macro playback_states(timelines) -%}
playback as (
    select
        *,
        arrayMap(e -> toUnixTimestamp64Milli(e.1), events) as at_ms,
        events.3 as types,
        events.6 as positions,
        at_ms[-1] as last_ms,
        arrayFirstIndex(t -> t = 'view_start', types) as start_index,
        at_ms[start_index] as start_ms,
        -- The play lasts to its last terminal event, or else to the last event.
        arrayMax(
            arrayMap((t, at) -> if({{ is_terminal('t') }} and at >= start_ms, at, start_ms - 1), types, at_ms)
        ) as terminal_ms,
        if(terminal_ms >= start_ms, terminal_ms, last_ms) as end_ms,
        -- An event starts playback (1), stops it (0), or leaves it as the events before left it.
        arrayMap(
            s -> s = 1,
            arrayFill(
                s -> s >= 0,
                arrayMap(
                    t -> multiIf(
                        t in ('view_start', 'resume', 'replay'), 1,
                        t = 'pause' or {{ is_terminal('t') }}, 0,
                        -1
                    ),
                    types
                )
            )
        ) as is_playing,
        -- The time played from this event to the next, inside the bounds of the play.
        arrayMap(
            (playing, at, next_at) -> if(
                playing and start_index > 0,
                greatest(least(next_at, end_ms) - greatest(at, start_ms), 0),
                0
            )::Int64,
            is_playing, at_ms, arrayPushBack(arrayPopFront(at_ms), last_ms)
        ) as playing_ms,
        arrayCumSum(playing_ms) as played_after_ms,
        arrayMap((after, own) -> after - own, played_after_ms, playing_ms) as played_before_ms
    from {{ timelines }}
),

-- Where a seek went back to, and how much of what it went back over was played again.
rewound as (
    select
        *,
        -- The player's position less the time played: constant while it plays, known anew at every known position.
        arrayPushFront(
            arrayPopBack(
                arrayFill(
                    offset_ms -> isNotNull(offset_ms),
                    arrayMap(
                        (t, position, before) -> coalesce(
                            position::Nullable(Int64), if(t in ('view_start', 'replay'), 0, null)
                        ) - before,
                        types, positions, played_before_ms
                    )
                )
            ),
            null
        ) as offsets_before,
        arrayMap(
            (t, position, offset_ms, before) -> if(
                t = 'seek', greatest(coalesce(offset_ms + before - position::Nullable(Int64), 0), 0), 0
            )::Int64,
            types, positions, offsets_before, played_before_ms
        ) as jumped_back_ms,
        -- What has played by the next start, replay or seek: the end of the stretch that this event begins.
        arrayPopFront(
            arrayReverseFill(
                (before, t) -> t in ('view_start', 'replay', 'seek'),
                arrayPushBack(played_before_ms, played_after_ms[-1]),
                arrayPushBack(types, 'seek')
            )
        ) as stretch_ends,
        arrayMap(
            (jumped, before, stretch_end) -> least(jumped, stretch_end - before),
            jumped_back_ms, played_before_ms, stretch_ends
        ) as rewatched_ms
    from playback
)
{%- endmacro %}
