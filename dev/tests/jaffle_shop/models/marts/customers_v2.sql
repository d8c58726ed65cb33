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
        count(*) as order_count,
        sum(net_revenue) as lifetime_revenue
    from orders
    group by 1

)

select
    customers.customer_id,
    customers.first_name || ' ' || customers.last_name as customer_name,
    customers.signed_up_at,
    orders.first_ordered_at,
    orders.last_ordered_at,
    coalesce(orders.order_count, 0) as order_count,
    coalesce(orders.lifetime_revenue, 0)::numeric(16, 2) as lifetime_revenue
from customers
left join orders_per_customer as orders
    on customers.customer_id = orders.customer_id
