"""What the sample's marts have to hold, reckoned from the seeds' CSVs by plain Python.

Written from the descriptions of the models, not from their SQL.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from decimal import Decimal

from dev.tests import sample

SEEDS = sample.PROJECT / "seeds"


def seed(name: str) -> list[dict[str, str]]:
    with (SEEDS / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def dollars(cents: str) -> Decimal:
    return Decimal(cents) / 100


def net_revenue() -> dict[str, Decimal]:
    """By order: what was paid and not given back, without coupons."""
    revenue: dict[str, Decimal] = {order["id"]: Decimal(0) for order in seed("raw_orders")}
    for payment in seed("raw_payments"):
        if payment["status"] == "succeeded" and payment["payment_method"] != "coupon":
            revenue[payment["order_id"]] += dollars(payment["amount"])
    return revenue


def rows() -> dict[str, int]:
    """By relation, how many rows it has."""
    orders = seed("raw_orders")
    return {
        "analytics.orders": len(orders),
        "analytics.customers": len(seed("raw_customers")),
        "analytics.customers_v1": len(seed("raw_customers")),
        "analytics.products": len(seed("raw_products")),
        "analytics.daily_revenue": len({order["ordered_at"][:10] for order in orders}),
        "analytics.customer_retention": len(retention()),
        "analytics.orders_snapshot": len(orders),
        **{f"analytics_raw.raw_{name}": len(seed(f"raw_{name}")) for name in SEEDED},
    }


SEEDED = ("customers", "order_items", "orders", "payments", "products")


def customer_revenue() -> dict[int, Decimal]:
    """By customer, their orders' net revenue."""
    revenue = net_revenue()
    total = {int(customer["id"]): Decimal(0) for customer in seed("raw_customers")}
    for order in seed("raw_orders"):
        total[int(order["customer_id"])] += revenue[order["id"]]
    return total


def daily_revenue() -> dict[str, Decimal]:
    """By day, the net revenue of the orders placed on it."""
    revenue = net_revenue()
    total: dict[str, Decimal] = defaultdict(Decimal)
    for order in seed("raw_orders"):
        total[order["ordered_at"][:10]] += revenue[order["id"]]
    return dict(total)


def product_sales() -> dict[str, tuple[int, Decimal]]:
    """By product, the units sold and what they came to."""
    price = {product["sku"]: dollars(product["price"]) for product in seed("raw_products")}
    units: Counter[str] = Counter(dict.fromkeys(price, 0))
    for item in seed("raw_order_items"):
        units[item["sku"]] += int(item["quantity"])
    return {sku: (units[sku], units[sku] * price[sku]) for sku in price}


def retention() -> dict[tuple[str, str], tuple[int, int]]:
    """By first month and month: the size of that cohort, and how many of it ordered then."""
    months: dict[str, set[str]] = defaultdict(set)
    for order in seed("raw_orders"):
        months[order["customer_id"]].add(order["ordered_at"][:7] + "-01")
    size = Counter(min(ordered) for ordered in months.values())
    active = Counter((min(ordered), month) for ordered in months.values() for month in ordered)
    return {(first, month): (size[first], count) for (first, month), count in active.items()}
