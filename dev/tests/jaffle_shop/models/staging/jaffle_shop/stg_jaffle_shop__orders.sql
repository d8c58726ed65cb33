-- depends_on: {{ ref('raw_orders') }}

with

source as (

    select * from {{ source('jaffle_shop', 'orders') }}

),

renamed as (

    select
        id as order_id,
        customer_id,
        status,
        ordered_at,
        updated_at
    from source

)

select * from renamed
