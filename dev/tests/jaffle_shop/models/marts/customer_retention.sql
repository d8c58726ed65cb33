with

customers as (

    select * from {{ ref('customers', v=2) }}

),

orders as (

    select * from {{ ref('orders') }}

),

cohort_members as (

    select
        customer_id,
        date_trunc('month', first_ordered_at)::date as cohort_month
    from customers
    where order_count > 0

),

cohorts as (

    select
        cohort_month,
        count(*) as cohort_size
    from cohort_members
    group by 1

),

activity as (

    select
        cohort_members.cohort_month,
        date_trunc('month', orders.ordered_at)::date as order_month,
        count(distinct orders.customer_id) as active_customers
    from orders
    inner join cohort_members
        on orders.customer_id = cohort_members.customer_id
    group by 1, 2

)

select
    activity.cohort_month,
    activity.order_month,
    cohorts.cohort_size,
    activity.active_customers,
    round(
        activity.active_customers::numeric / cohorts.cohort_size, 4
    ) as retention_rate
from activity
inner join cohorts on activity.cohort_month = cohorts.cohort_month
