-- depends_on: {{ ref('raw_payments') }}

with

source as (

    select * from {{ source('stripe', 'payments') }}

),

renamed as (

    select
        id as payment_id,
        order_id,
        payment_method,
        status,
        {{ cents_to_dollars('amount') }} as amount,
        created_at
    from source

)

select * from renamed
