// What the three steps do: nothing, or a unit of stock, an order and a charge in three stores.
import pg from 'pg';

const doesNothing = process.env.WORKLOAD === 'noop';
const connections = 16;
const pool = (name) => new pg.Pool({ connectionString: process.env[name], max: connections });
const inventory = doesNothing ? null : pool('INVENTORY_URL');
const orders = doesNothing ? null : pool('ORDERS_URL');
const answer = () => ({ ok: true, pad: 'y'.repeat(60) });

const TAKE = {
  name: 'take',
  text: 'update stock set available = available - $2 where sku = $1 and available >= $2',
};
const RESERVE = {
  name: 'reserve',
  text: 'insert into reservation (saga, sku, quantity) values ($1, $2, $3) on conflict do nothing',
};
const CREATE = {
  name: 'create',
  text: `insert into orders (saga, customer, sku, quantity, amount, status)
         values ($1, $2, $3, $4, $5, 'created') on conflict do nothing`,
};

export async function reserve({ order, sku, quantity }) {
  if (doesNothing) return answer();
  const client = await inventory.connect();
  try {
    await client.query('begin');
    const reserved = await client.query({ ...RESERVE, values: [order, sku, quantity] });
    // What is there already was reserved by an earlier attempt.
    if (reserved.rowCount === 1) {
      const taken = await client.query({ ...TAKE, values: [sku, quantity] });
      if (taken.rowCount !== 1) throw new Error('out of stock');
    }
    await client.query('commit');
  } catch (error) {
    await client.query('rollback');
    throw error;
  } finally {
    client.release();
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
