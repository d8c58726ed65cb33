{%- set payment_methods = ['credit_card', 'bank_transfer', 'gift_card', 'coupon'] -%}

with

payments as (

    select * from {{ ref('stg_stripe__payments') }}

),

pivoted as (

    select
        order_id,
        {%- for payment_method in payment_methods %}
            coalesce(
                sum(amount) filter (where payment_method = '{{ payment_method }}'), 0.00
            ) as {{ payment_method }}_amount,
        {%- endfor %}
        coalesce(
            sum(amount) filter (where status = 'refunded'), 0.00
        ) as refunded_amount,
        sum(amount) as amount_paid
    from payments
    where status != 'failed'
    group by 1

)

select
    *,
    -- no coupon is ever refunded, so nothing is taken off twice
    amount_paid - coupon_amount - refunded_amount as net_revenue
from pivoted
