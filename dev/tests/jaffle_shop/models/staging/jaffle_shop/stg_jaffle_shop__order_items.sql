-- depends_on: {{ ref('raw_order_items') }}

with

source as (

    select * from {{ source('jaffle_shop', 'order_items') }}

),

renamed as (

    select
        order_id,
        sku as product_id,
        quantity
    from source

)

select * from renamed
