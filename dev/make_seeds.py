#!/usr/bin/env python3
"""Write the sample project's seeds: eighteen months of a made-up jaffle shop.

    python3 dev/make_seeds.py [folder]      default: include/dbt/seeds

The output is the same to the byte each time, on Python 3.10 and later. So only `random()`,
`choices()` and `randrange()` of a seeded generator are used. `gauss()` and the like depend on the
platform's logarithms, and some have changed between releases.
"""

import csv
import sys
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

SEEDS = Path(__file__).resolve().parent.parent / "include" / "dbt" / "seeds"

OPENED = datetime(2025, 1, 1)
CLOSED = datetime(2026, 7, 1)  # the data ends before this moment
DAYS = (CLOSED - OPENED).days

# Small on purpose: dbt takes a fifth of a millisecond to load one cell of a seed.
ORDERS_PER_DAY = 1.4, 3.0  # on an average day, at the beginning and at the end
WEEKDAY = (0.75, 0.8, 0.9, 1.0, 1.3, 1.45, 1.1)  # Monday first
MONTH = (0.8, 0.85, 0.95, 1.0, 1.1, 1.15, 1.15, 1.05, 0.95, 0.95, 1.0, 1.3)  # January first
HOUR = {7: 3, 8: 8, 9: 9, 10: 6, 11: 7, 12: 14, 13: 12, 14: 6, 15: 5, 16: 5, 17: 6, 18: 4}
NEW_CUSTOMER = 0.8, 0.25  # share of orders by new customers, at the beginning and at the end
NEVER_ORDERED = 40  # customers who signed up and never ordered

PRODUCTS = (  # sku, name, type, price in cents, share of sales
    ("JAF-01", "three cheese", "jaffle", 850, 18),
    ("JAF-02", "ham and mustard", "jaffle", 950, 15),
    ("JAF-03", "mushroom and thyme", "jaffle", 900, 9),
    ("JAF-04", "smoky bean", "jaffle", 875, 8),
    ("JAF-05", "pulled beef", "jaffle", 1150, 7),
    ("JAF-06", "baked apple", "jaffle", 700, 6),
    ("BEV-01", "filter coffee", "beverage", 350, 14),
    ("BEV-02", "flat white", "beverage", 450, 12),
    ("BEV-03", "masala chai", "beverage", 475, 5),
    ("BEV-04", "lemonade", "beverage", 400, 4),
    ("BEV-05", "ginger beer", "beverage", 525, 2),
)
FIRST_NAMES = (
    "Ada Amir Ana Ben Chloe Daniel Dmitri Elena Emeka Emma Farah Felix Grace Hana Hugo Ines "
    "Ivan Jamal Jonas Kofi Lars Leila Lin Lucia Maja Marco Mei Nadia Noah Olga Omar Priya Rosa "
    "Sam Sofia Tariq Tom Wei Yara Zoe"
)
LAST_NAMES = (
    "Abbott Adeyemi Ahmed Baker Bauer Becker Castro Chen Cohen Costa Diaz Dubois Evans Fischer "
    "Garcia Haddad Hansen Hughes Ito Jansen Khan Kim Kowalski Larsen Lopez Martin Mensah Moreau "
    "Nguyen Novak Okafor Patel Reyes Rossi Santos Silva Singh Tanaka Walker Wood"
)


def between(ends, day):
    """The value on `day` of a straight line from the opening day to the closing day."""
    first, last = ends
    return first + (last - first) * day / DAYS


def after(rng, moment, least, most):
    """A moment `least` to `most` days later, to the second."""
    return moment + timedelta(seconds=rng.randrange(int(least * 86400), int(most * 86400)))


def loaded_at(moment):
    """When the loader copied the row: at two in the following night."""
    return moment.replace(hour=2, minute=0, second=0) + timedelta(days=1)


def order_times(rng):
    """When orders are placed: more at weekends, in summer, in December, at lunch, and over time."""
    times = []
    for day in range(DAYS):
        date = OPENED + timedelta(days=day)
        expected = between(ORDERS_PER_DAY, day) * WEEKDAY[date.weekday()] * MONTH[date.month - 1]
        count = sum(rng.random() < expected / 20 for _ in range(20))
        hours = rng.choices(list(HOUR), weights=list(HOUR.values()), k=count)
        times += sorted(date + timedelta(hours=hour, seconds=rng.randrange(3600)) for hour in hours)
    return times


def buyers(rng, times):
    """The customer of each order, as the index of that customer's first order."""
    who = []
    for order, time in enumerate(times):
        if not who or rng.random() < between(NEW_CUSTOMER, (time - OPENED).days):
            who.append(order)
        else:
            who.append(who[rng.randrange(max(0, order - 250) if rng.random() < 0.6 else 0, order)])
    return who


def customers(rng, times, who):
    """Rows of raw_customers, and the customer id for each first order."""
    signups = [(after(rng, times[first], -0.01, 0), first) for first in sorted(set(who))]
    signups += [(after(rng, OPENED, 1, DAYS), None) for _ in range(NEVER_ORDERED)]
    signups.sort(key=lambda signup: signup[0])
    ids = {first: number for number, (_, first) in enumerate(signups, 1)}
    rows = [
        (
            number,
            rng.choices(FIRST_NAMES.split())[0],
            rng.choices(LAST_NAMES.split())[0],
            created,
            loaded_at(created),
        )
        for number, (created, _) in enumerate(signups, 1)
    ]
    return rows, ids


def status(rng, ordered):
    """The status of an order when the data ends, and since when. A return takes at most 28 days."""
    shipped = after(rng, ordered, 0.2, 2)
    completed = after(rng, shipped, 1, 5)
    steps = [("placed", ordered), ("shipped", shipped), ("completed", completed)]
    if rng.random() < 0.05:
        asked = after(rng, completed, 1, 7)
        steps += [("return_pending", asked), ("returned", after(rng, asked, 2, 14))]
    return [step for step in steps if step[1] < CLOSED][-1]


def basket(rng):
    """One to four different products with their quantities."""
    size = rng.choices((1, 2, 3, 4), weights=(50, 33, 12, 5))[0]
    chosen = {}
    while len(chosen) < size:
        product = rng.choices(PRODUCTS, weights=[product[4] for product in PRODUCTS])[0]
        chosen.setdefault(product, rng.choices((1, 2, 3, 4), weights=(76, 18, 4, 2))[0])
    return chosen


def payments(rng, total, ordered, order_status, updated):
    """Rows of raw_payments without ids. Those that did not fail add up to `total` cents."""
    parts = []
    if rng.random() < 0.13:
        parts.append(
            ("coupon", min(total, rng.choices((200, 300, 500, 1000), weights=(4, 3, 2, 1))[0]))
        )
    elif rng.random() < 0.12:
        parts.append(
            ("gift_card", min(total, rng.choices((1000, 2000, 5000), weights=(2, 3, 1))[0]))
        )
    rest = total - sum(amount for _, amount in parts)
    if rest:
        parts.append((rng.choices(("credit_card", "bank_transfer"), weights=(84, 16))[0], rest))

    rows = []
    for method, amount in parts:
        if method == "credit_card" and rng.random() < 0.03:
            rows.append((method, amount, "failed", ordered, loaded_at(ordered)))
            ordered += timedelta(seconds=rng.randrange(20, 180))
        # Money comes back with a return; a used coupon does not.
        refunded = order_status == "returned" and method != "coupon"
        outcome, known = ("refunded", updated) if refunded else ("succeeded", ordered)
        rows.append((method, amount, outcome, ordered, loaded_at(known)))
    return rows


def shop(rng):
    """Every seed's file name, header and rows."""
    times = order_times(rng)
    who = buyers(rng, times)
    customer_rows, customer_ids = customers(rng, times, who)
    order_rows, item_rows, payment_rows = [], [], []
    for number, (ordered, first) in enumerate(zip(times, who, strict=True), 1):
        state, updated = status(rng, ordered)
        order_rows.append(
            (number, customer_ids[first], state, ordered, updated, loaded_at(updated))
        )
        total = 0
        for product, quantity in basket(rng).items():
            total += product[3] * quantity
            item_rows.append((number, product[0], quantity, loaded_at(ordered)))
        for row in payments(rng, total, ordered, state, updated):
            payment_rows.append((len(payment_rows) + 1, number, *row))
    product_rows = [(*product[:4], loaded_at(OPENED)) for product in PRODUCTS]
    return (
        ("raw_customers", "id first_name last_name created_at _loaded_at", customer_rows),
        ("raw_orders", "id customer_id status ordered_at updated_at _loaded_at", order_rows),
        ("raw_order_items", "order_id sku quantity _loaded_at", item_rows),
        ("raw_products", "sku name type price _loaded_at", product_rows),
        (
            "raw_payments",
            "id order_id payment_method amount status created_at _loaded_at",
            payment_rows,
        ),
    )


def write_seeds(folder: Path) -> dict[str, int]:
    """Writes the CSV files into `folder`; returns the number of rows by file name."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for name, header, rows in shop(Random(2025)):
        # newline="" and "\n": the same bytes on Windows too
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header.split())
            writer.writerows(rows)
        written[f"{name}.csv"] = len(rows)
    return written


if __name__ == "__main__":
    for file_name, count in write_seeds(Path(sys.argv[1]) if len(sys.argv) > 1 else SEEDS).items():
        print(f"{file_name}: {count} rows")
