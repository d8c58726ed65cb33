{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key='date_day',
        on_schema_change='fail',
    )
}}

with

orders as (

    select * from {{ ref('orders') }}
    {% if is_incremental() %}
        -- A return is over 28 days after the order: older days do not change.
        where ordered_at >= (select max(this.date_day) - 30 from {{ this }} as this)
    {% endif %}

)

select
    ordered_at::date as date_day,
    count(*) as order_count,
    sum(amount_paid) as amount_paid,
    sum(coupon_amount) as coupon_amount,
    sum(refunded_amount) as refunded_amount,
    sum(net_revenue) as net_revenue
from orders
group by 1
