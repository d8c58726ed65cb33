with

customers as (

    select * from {{ ref('stg_jaffle_shop__customers') }}

),

orders as (

    select * from {{ ref('orders') }}

),

orders_per_customer as (

    select
        customer_id,
        min(ordered_at) as first_ordered_at,
        max(ordered_at) as last_ordered_at,
        count(*) as number_of_orders,
        sum(amount_paid) as lifetime_value
    from orders
    group by 1

)

select
    customers.customer_id,
    customers.first_name,
    customers.last_name,
    orders.first_ordered_at,
    orders.last_ordered_at,
    coalesce(orders.number_of_orders, 0) as number_of_orders,
    coalesce(orders.lifetime_value, 0)::numeric(16, 2) as lifetime_value
from customers
left join orders_per_customer as orders
    on customers.customer_id = orders.customer_id
