"""DBOS Transact for Python: an asynchronous workflow of three steps, kept in PostgreSQL.

A closed loop. Prints `measure` when it is warm, and at the end one line of JSON.
"""

import asyncio
import json
import os
import time
from importlib.metadata import version

import aiohttp
import asyncpg
from dbos import DBOS, SetWorkflowID

DOES_NOTHING = os.environ["WORKLOAD"] == "noop"
CONNECTIONS = 16
# In one statement, which is a transaction of its own. Two attempts at once: the second one fails, and is made again.
RESERVE = """
    with taken as (
        update stock set available = available - $3
        where sku = $2 and available >= $3 and not exists (select from reservation where saga = $1)
        returning sku
    )
    insert into reservation (saga, sku, quantity) select $1, $2, $3 from taken"""
IS_RESERVED = "select exists (select from reservation where saga = $1)"
CREATE = (
    "insert into orders (saga, customer, sku, quantity, amount, status) "
    "values ($1, $2, $3, $4, $5, 'created') on conflict do nothing"
)


class Stores:
    """Opened by the loop that uses them."""

    inventory: asyncpg.Pool
    orders: asyncpg.Pool
    http: aiohttp.ClientSession

    @classmethod
    async def open(cls) -> None:
        sizes = {"min_size": CONNECTIONS, "max_size": CONNECTIONS}
        cls.inventory = await asyncpg.create_pool(os.environ["INVENTORY_URL"], **sizes)
        cls.orders = await asyncpg.create_pool(os.environ["ORDERS_URL"], **sizes)
        cls.http = aiohttp.ClientSession()


def answer() -> dict:
    return {"ok": True, "pad": "y" * 60}


@DBOS.step()
async def reserve(order: dict) -> dict:
    if not DOES_NOTHING:
        asked = (order["order"], order["sku"], order["quantity"])
        if await Stores.inventory.execute(RESERVE, *asked) == "INSERT 0 0":
            # By an earlier attempt?
            if not await Stores.inventory.fetchval(IS_RESERVED, order["order"]):
                raise RuntimeError("out of stock")
    return answer()


@DBOS.step()
async def create(order: dict) -> dict:
    if not DOES_NOTHING:
        fields = ("order", "customer", "sku", "quantity", "amount")
        await Stores.orders.execute(CREATE, *(order[field] for field in fields))
    return answer()


@DBOS.step()
async def charge(order: dict) -> dict:
    if not DOES_NOTHING:
        asked = {"order": order["order"], "amount": str(order["amount"])}
        async with Stores.http.post(os.environ["CHARGE_URL"], json=asked) as response:
            response.raise_for_status()
            await response.json()
    return answer()


@DBOS.workflow()
async def saga(order: dict) -> dict:
    await reserve(order)
    await create(order)
    return await charge(order)


def order_of(number: int) -> dict:
    """As `Order::number` of three_stores.rs."""
    return {
        "order": f"o-{number}",
        "customer": f"c-{number % 1000}",
        "sku": f"sku-{number % 1000}",
        "quantity": 1,
        "amount": 1999,
        "note": "x" * 110,
    }


async def loop(seconds: float, numbers, latencies: list[float]) -> None:
    end = time.perf_counter() + seconds

    async def customer() -> None:
        while (began := time.perf_counter()) < end:
            order = order_of(next(numbers))
            with SetWorkflowID(order["order"]):
                handle = await DBOS.start_workflow_async(saga, order)
            await handle.get_result()
            latencies.append((time.perf_counter() - began) * 1000)

    await asyncio.gather(*(customer() for _ in range(int(os.environ["IN_FLIGHT"]))))


async def main() -> None:
    if not DOES_NOTHING:
        await Stores.open()
    DBOS(
        config={
            "name": "peer",
            "system_database_url": os.environ["SAGAS_URL"].replace("postgres://", "postgresql://"),
            "sys_db_pool_size": 32,
            "log_level": "ERROR",
        }
    )
    DBOS.launch()
    numbers = iter(range(1 << 62))
    await loop(float(os.environ["WARM_UP"]), numbers, [])
    print("measure", flush=True)
    latencies: list[float] = []
    await loop(float(os.environ["SECONDS"]), numbers, latencies)
    latencies.sort()

    def quantile(q: float) -> float:
        return latencies[min(len(latencies) - 1, int(q * len(latencies)))]

    measured = {
        "version": version("dbos"),
        "sagas": len(latencies),
        "p50_ms": quantile(0.5),
        "p95_ms": quantile(0.95),
        "p99_ms": quantile(0.99),
        "max_ms": latencies[-1],
    }
    print(json.dumps(measured), flush=True)
    # Its threads would wait for more.
    os._exit(0)


asyncio.run(main())
