// What the three steps do: nothing, or a unit of stock, an order and a charge in three stores.
import pg from 'pg';

const doesNothing = process.env.WORKLOAD === 'noop';
const connections = 16;
const pool = (name) => new pg.Pool({ connectionString: process.env[name], max: connections });
const inventory = doesNothing ? null : pool('INVENTORY_URL');
const orders = doesNothing ? null : pool('ORDERS_URL');
const answer = () => ({ ok: true, pad: 'y'.repeat(60) });

// In one statement, which is a transaction of its own. Two attempts at once: the second one fails, and is made again.
const RESERVE = {
  name: 'reserve',
  text: `with taken as (
           update stock set available = available - $3
           where sku = $2 and available >= $3 and not exists (select from reservation where saga = $1)
           returning sku
         )
         insert into reservation (saga, sku, quantity) select $1, $2, $3 from taken`,
};
const IS_RESERVED = { name: 'is reserved', text: 'select from reservation where saga = $1' };
const CREATE = {
  name: 'create',
  text: `insert into orders (saga, customer, sku, quantity, amount, status)
         values ($1, $2, $3, $4, $5, 'created') on conflict do nothing`,
};

export async function reserve({ order, sku, quantity }) {
  if (doesNothing) return answer();
  const reserved = await inventory.query({ ...RESERVE, values: [order, sku, quantity] });
  if (reserved.rowCount === 0) {
    // By an earlier attempt?
    const earlier = await inventory.query({ ...IS_RESERVED, values: [order] });
    if (earlier.rowCount === 0) throw new Error('out of stock');
  }
  return answer();
}

export async function create({ order, customer, sku, quantity, amount }) {
  if (doesNothing) return answer();
  await orders.query({ ...CREATE, values: [order, customer, sku, quantity, amount] });
  return answer();
}

export async function charge({ order, amount }) {
  if (doesNothing) return answer();
  const response = await fetch(process.env.CHARGE_URL, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ order, amount: String(amount) }),
  });
  if (!response.ok) throw new Error(`the charge was answered with ${response.status}`);
  await response.json();
  return answer();
}
