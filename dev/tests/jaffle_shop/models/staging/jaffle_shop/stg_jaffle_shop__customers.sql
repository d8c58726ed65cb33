-- depends_on: {{ ref('raw_customers') }}

with

source as (

    select * from {{ source('jaffle_shop', 'customers') }}

),

renamed as (

    select
        id as customer_id,
        first_name,
        last_name,
        created_at as signed_up_at
    from source

)

select * from renamed
