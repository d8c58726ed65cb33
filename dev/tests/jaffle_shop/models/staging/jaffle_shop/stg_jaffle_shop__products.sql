-- depends_on: {{ ref('raw_products') }}

with

source as (

    select * from {{ source('jaffle_shop', 'products') }}

),

renamed as (

    select
        sku as product_id,
        name as product_name,
        type as product_type,
        {{ cents_to_dollars('price') }} as price
    from source

)

select * from renamed
