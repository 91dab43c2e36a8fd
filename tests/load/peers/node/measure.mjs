// A closed loop over one peer. Prints `measure` when it is warm, and at the end one line of JSON.
const number = (name) => Number(process.env[name]);
export const inFlight = number('IN_FLIGHT');
export const url = process.env.SAGAS_URL;

const quantile = (sorted, q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];

// `runOne(order)` resolves when that saga has ended, durably.
export async function measure(version, runOne) {
  let next = 0;
  const loop = async (seconds, latencies) => {
    const end = performance.now() + seconds * 1000;
    const customer = async () => {
      while (performance.now() < end) {
        const began = performance.now();
        await runOne(order(next++));
        latencies.push(performance.now() - began);
      }
    };
    await Promise.all(Array.from({ length: inFlight }, customer));
  };
  await loop(number('WARM_UP'), []);
  console.log('measure');
  const latencies = [];
  await loop(number('SECONDS'), latencies);
  latencies.sort((a, b) => a - b);
  console.log(JSON.stringify({
    version,
    sagas: latencies.length,
    p50_ms: quantile(latencies, 0.5),
    p95_ms: quantile(latencies, 0.95),
    p99_ms: quantile(latencies, 0.99),
    max_ms: latencies.at(-1),
  }));
  process.exit(0);
}

// As `Order::number` of three_stores.rs.
function order(number) {
  return {
    order: `o-${number}`,
    customer: `c-${number % 1000}`,
    sku: `sku-${number % 1000}`,
    quantity: 1,
    amount: 1999,
    note: 'x'.repeat(110),
  };
}
