select
    order_id,
    items_amount,
    amount_paid
from {{ ref('orders') }}
where amount_paid is distinct from items_amount
