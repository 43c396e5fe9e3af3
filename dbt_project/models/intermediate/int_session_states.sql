-- MergeTree by day, then user: a day is built from its own rows, and a touched session's rows lie with its user's.
-- Partitioned by month: windows of 7 to 90 days read few partitions, and old months can be dropped whole.
-- Incremental by arrival: the sessions in `touched_sessions` are rebuilt whole, from all their events, and forgotten
-- there last (docs/adr/0002). Nothing depends on a clock or on where a killed run stopped.
{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['user_id', 'session_key'],
        on_schema_change='fail',
        engine='MergeTree()',
        order_by=['toDate32(hour)', 'user_id', 'session_key', 'hour'],
        partition_by='toYYYYMM(hour)',
        query_settings={
            'optimize_aggregation_in_order': 1,
            'max_partitions_per_insert_block': 0,
            'lightweight_deletes_sync': 2,
        },
        pre_hook=[
            "{{ take_sessions() }}",
            "{{ ask_for_everything_at_first() }}",
            "{{ touch_sessions_of_changed_videos() }}",
            "{{ touch_days() }}",
        ],
        post_hook=["{{ touch_days(is_built=true) }}", "{{ remember_durations() }}", "{{ forget_sessions() }}"],
        tags=['sessions']
    )
}}

with
videos as (
    select
        video_id,
        duration_ms
    from {{ ref('stg_videos') }}
),

deliveries as (
    select
        user_id,
        session_key,
        session_id,
        video_id,
        groupArray({{ event_tuple() }}) as deliveries
    from {{ source('clickhouse', 'playback_events') }}
    {% if is_incremental() -%}
    where
        session_key in (select touched.session_key from {{ journal('touched_sessions') }} as touched)
        -- Two users may share a key, by chance or on purpose.
        and (user_id, session_key) in (
            select
                touched.user_id,
                touched.session_key
            from {{ journal('touched_sessions') }} as touched
        )
    {%- endif %}
    group by user_id, session_key, session_id, video_id
),

events_once as (
    select
        user_id,
        session_key,
        session_id,
        video_id,
        {{ distinct_events('deliveries') }} as events
    from deliveries
),

whole as (
    select
        user_id,
        session_key,
        session_id,
        video_id,
        arraySort(e -> (e.1, e.2, e.3, e.4), events) as all_events,
        arrayMap(e -> {{ start_of_hour_ms('toUnixTimestamp64Milli(e.1)') }}, all_events) as hours
    from events_once
),

-- A session whose events lie in one hour, as most do, has one state: after its last event. One across hours has a state
-- at the end of each: how it looked to whoever asked in the hours after.
cuts as (
    select
        *,
        if(
            hours[1] = hours[-1],
            [length(all_events)],
            arrayFilter(
                (i, own, following) -> own != following,
                arrayEnumerate(hours), hours, arrayPushBack(arrayPopFront(hours), {{ never_ms() }})
            )
        ) as lengths
    from whole
),

timelines as (
    select
        user_id,
        session_key,
        session_id,
        video_id,
        if(cut = length(all_events), all_events, arraySlice(all_events, 1, cut)) as events,
        hours[cut] as hour_ms,
        if(cut = length(all_events), {{ never_ms() }}, hours[cut + 1]) as superseded_ms,
        if(
            cut = length(all_events),
            {{ never_ms() }},
            toUnixTimestamp64Milli(tupleElement(all_events[next_cut], 1))
        ) as next_ended_ms
    from cuts
    array join
        lengths as cut,
        arrayPushBack(arrayPopFront(lengths), 0) as next_cut
),

{{ playback_states('timelines') }},

sessions as (
    select
        session_key,
        session_id,
        user_id,
        video_id,
        hour_ms,
        superseded_ms,
        next_ended_ms,
        if(start_index > 0, start_ms, at_ms[1]) as started_ms,
        last_ms as ended_ms,
        if(start_index > 0, end_ms - start_ms, 0) as total_watch_time_ms,
        played_after_ms[-1] - arraySum(rewatched_ms) as effective_watch_time_ms,
        start_index > 0 as was_played,
        types,
        tupleElement(events[1], 7) as scrolled_in,
        arrayMax(events.5) as last_arrival_at
    from rewound
),

with_durations as (
    select
        sessions.*,
        coalesce(videos.duration_ms, {{ var('default_video_duration_ms') }}) as video_duration_ms,
        sessions.total_watch_time_ms / video_duration_ms as watch_time_ratio
    from sessions
    left join videos
        on sessions.video_id = videos.video_id
),

final as (
    select
        session_key,
        session_id,
        user_id,
        video_id,
        fromUnixTimestamp64Milli(hour_ms, 'UTC') as hour,
        fromUnixTimestamp64Milli(superseded_ms, 'UTC') as superseded_at,
        (superseded_ms = {{ never_ms() }})::UInt8 as is_latest,
        fromUnixTimestamp64Milli(next_ended_ms, 'UTC') as next_ended_at,
        fromUnixTimestamp64Milli(started_ms, 'UTC') as started_at,
        fromUnixTimestamp64Milli(ended_ms, 'UTC') as ended_at,
        total_watch_time_ms::Int64 as total_watch_time_ms,
        effective_watch_time_ms::Int64 as effective_watch_time_ms,
        video_duration_ms::Int64 as video_duration_ms,
        watch_time_ratio::Float64 as watch_time_ratio,
        (watch_time_ratio >= 0.9)::UInt8 as is_finished,
        (total_watch_time_ms > 300)::UInt8 as is_valid_view,
        countEqual(types, 'pause')::UInt32 as num_pauses,
        countEqual(types, 'resume')::UInt32 as num_resumes,
        countEqual(types, 'replay')::UInt32 as num_replays,
        scrolled_in::UInt8 as scrolled_in,
        has(types, 'scroll_pass')::UInt8 as scrolled_out,
        multiIf(
            types[-1] = 'scroll_pass', 'scroll',
            types[-1] = 'view_end', 'end_video',
            types[-1] = 'click', 'click_other',
            'close_app'
        )::Enum8('scroll' = 1, 'end_video' = 2, 'close_app' = 3, 'click_other' = 4) as exit_reason,
        was_played::UInt8 as was_played,
        countEqual(types, 'like')::UInt32 as num_likes,
        countEqual(types, 'comment')::UInt32 as num_comments,
        countEqual(types, 'share')::UInt32 as num_shares,
        countEqual(types, 'follow_creator')::UInt32 as num_follows,
        countEqual(types, 'save')::UInt32 as num_saves,
        length(types)::UInt32 as num_events,
        last_arrival_at
    from with_durations
)

select * from final
