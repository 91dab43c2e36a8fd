// absurd: a task of three steps, kept in PostgreSQL. A saga has ended when the worker's commit that
// completes it has returned: sooner than a client could hear of it.
import { Absurd } from 'absurd-sdk';
import pg from 'pg';

import { inFlight, measure, url } from './measure.mjs';
import { charge, create, reserve } from './stores.mjs';
import { version } from './version.mjs';

const silent = () => {};
const app = new Absurd({
  db: new pg.Pool({ connectionString: url, max: 32 }),
  queueName: 'peer',
  log: { log: silent, info: silent, warn: silent, error: console.error },
});
await app.createQueue();
app.registerTask({ name: 'saga' }, async (order, context) => {
  try {
    await context.step('reserve', () => reserve(order));
    await context.step('create', () => create(order));
    return await context.step('charge', () => charge(order));
  } catch (error) {
    // Else it would be told to the database, and count as one that ended.
    console.error(error);
    process.exit(1);
  }
});
const waiting = new Map();
const execute = app.executeTask.bind(app);
app.executeTask = async (task, ...rest) => {
  await execute(task, ...rest);
  waiting.get(task.params.order)?.();
  waiting.delete(task.params.order);
};
await app.startWorker({
  concurrency: Math.max(inFlight, 8),
  pollInterval: 0.005,
  claimTimeout: 120,
});
await measure(version('absurd-sdk'), (order) => new Promise((ended, failed) => {
  waiting.set(order.order, ended);
  app.spawn('saga', order, { idempotencyKey: order.order }).catch(failed);
}));
