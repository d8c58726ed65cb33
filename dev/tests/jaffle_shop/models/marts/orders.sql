with

orders as (

    select * from {{ ref('stg_jaffle_shop__orders') }}

),

order_items as (

    select * from {{ ref('int_order_items_priced') }}

),

payments as (

    select * from {{ ref('int_payments_pivoted_to_orders') }}

),

items_per_order as (

    select
        order_id,
        sum(quantity) as item_count,
        sum(amount) as items_amount
    from order_items
    group by 1

)

select
    orders.order_id,
    orders.customer_id,
    orders.status,
    orders.ordered_at,
    row_number() over (
        partition by orders.customer_id
        order by orders.ordered_at, orders.order_id
    ) as customer_order_number,
    items_per_order.item_count,
    items_per_order.items_amount,
    payments.credit_card_amount,
    payments.bank_transfer_amount,
    payments.gift_card_amount,
    payments.coupon_amount,
    payments.amount_paid,
    payments.refunded_amount,
    payments.net_revenue
from orders
left join items_per_order on orders.order_id = items_per_order.order_id
left join payments on orders.order_id = payments.order_id
