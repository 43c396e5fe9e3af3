-- A table, not a view on postgresql(): a view would send every join and every test to Postgres again, and two
-- models of one run could see two states of it.
-- MergeTree by user_id: small, joined and looked up by id; not partitioned, as it is always read whole.
{{ config(materialized='table', engine='MergeTree()', order_by=['user_id']) }}

with
users as (
    select * from {{ postgres_table(source('postgres', 'users')) }}
),

final as (
    select
        assumeNotNull(user_id)::String as user_id,
        created_at::Nullable(DateTime64(3, 'UTC')) as created_at,
        age::Nullable(Int16) as age,
        coalesce(gender, 'unknown')::String as gender,
        coalesce(language, '')::String as language,
        arrayMap(x -> assumeNotNull(x), arrayFilter(x -> isNotNull(x), interested_categories))::Array(String)
            as interested_categories,
        avg_daily_watch_time_ms::Nullable(Int64) as avg_daily_watch_time_ms,
        coalesce(device_type, '')::String as device_type,
        arrayMap(x -> assumeNotNull(x), arrayFilter(x -> isNotNull(x), preferred_creators))::Array(String)
            as preferred_creators,
        engagement_score::Nullable(Float64) as engagement_score,
        coalesce(region, '')::String as region
    from users
)

select * from final
