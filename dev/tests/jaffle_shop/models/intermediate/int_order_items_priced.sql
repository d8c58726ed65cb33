-- A table, because two marts read it. Not a view: rebuilding a view on views
-- while its parents are being rebuilt can deadlock in Postgres.
{{ config(materialized='table') }}

with

order_items as (

    select * from {{ ref('stg_jaffle_shop__order_items') }}

),

products as (

    select * from {{ ref('stg_jaffle_shop__products') }}

)

select
    order_items.order_id,
    order_items.product_id,
    order_items.quantity,
    order_items.quantity * products.price as amount
from order_items
left join products on order_items.product_id = products.product_id
