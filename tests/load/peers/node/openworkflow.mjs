// OpenWorkflow: a workflow of three steps, kept in PostgreSQL. A saga has ended when the worker's call
// that completes it has returned: sooner than a client could hear of it.
import { OpenWorkflow } from 'openworkflow';
import { BackendPostgres } from 'openworkflow/postgres';
import postgres from 'postgres';

import { inFlight, measure, url } from './measure.mjs';
import { charge, create, reserve } from './stores.mjs';
import { version } from './version.mjs';

const namespaceId = 'peer';
await (await BackendPostgres.connect(url, { namespaceId, runMigrations: true })).stop();
const pool = postgres(url, { max: 32, transform: { column: { from: postgres.toCamel } } });
const backend = BackendPostgres.fromPool(pool, { namespaceId });
const waiting = new Map();
const complete = backend.completeWorkflowRun.bind(backend);
backend.completeWorkflowRun = async (run) => {
  const completed = await complete(run);
  waiting.get(completed.input?.order)?.();
  waiting.delete(completed.input?.order);
  return completed;
};
const openWorkflow = new OpenWorkflow({ backend });
const saga = openWorkflow.defineWorkflow({ name: 'saga' }, async ({ input: order, step }) => {
  await step.run({ name: 'reserve' }, () => reserve(order));
  await step.run({ name: 'create' }, () => create(order));
  return await step.run({ name: 'charge' }, () => charge(order));
});
// A free place asks for a saga with a statement of its own, as often as there is none: 1,024 of them are half as
// fast here as 128.
await openWorkflow.newWorker({ concurrency: Math.min(Math.max(inFlight, 8), 128) }).start();
await measure(version('openworkflow'), (order) => new Promise((ended, failed) => {
  waiting.set(order.order, ended);
  saga.run(order, { idempotencyKey: order.order }).catch(failed);
}));
