with

orders as (

    select
        ordered_at::date as date_day,
        sum(net_revenue) as net_revenue
    from {{ ref('orders') }}
    group by 1

),

daily_revenue as (

    select * from {{ ref('daily_revenue') }}

)

select
    orders.date_day as day_of_orders,
    daily_revenue.date_day as day_of_revenue,
    orders.net_revenue as revenue_of_orders,
    daily_revenue.net_revenue as revenue_of_day
from orders
full outer join daily_revenue on orders.date_day = daily_revenue.date_day
where orders.net_revenue is distinct from daily_revenue.net_revenue
