with

products as (

    select * from {{ ref('stg_jaffle_shop__products') }}

),

order_items as (

    select * from {{ ref('int_order_items_priced') }}

),

sales as (

    select
        product_id,
        count(*) as order_count,
        sum(quantity) as units_sold,
        sum(amount) as sales_amount
    from order_items
    group by 1

)

select
    products.product_id,
    products.product_name,
    products.product_type,
    products.price,
    coalesce(sales.order_count, 0) as order_count,
    coalesce(sales.units_sold, 0) as units_sold,
    coalesce(sales.sales_amount, 0) as sales_amount
from products
left join sales on products.product_id = sales.product_id
