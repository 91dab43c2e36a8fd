// DBOS Transact for TypeScript: a workflow of three steps, kept in PostgreSQL.
import { DBOS } from '@dbos-inc/dbos-sdk';

import { measure, url } from './measure.mjs';
import { charge, create, reserve } from './stores.mjs';
import { version } from './version.mjs';

// Measured with 8, 32 and 64 connections: 32 is the fastest.
DBOS.setConfig({
  name: 'peer',
  systemDatabaseUrl: url,
  systemDatabasePoolSize: 32,
  logLevel: 'error',
  tracingEnabled: false,
});
const saga = DBOS.registerWorkflow(async (order) => {
  await DBOS.runStep(() => reserve(order), { name: 'reserve' });
  await DBOS.runStep(() => create(order), { name: 'create' });
  return await DBOS.runStep(() => charge(order), { name: 'charge' });
}, { name: 'saga' });
await DBOS.launch();
await measure(version('@dbos-inc/dbos-sdk'), async (order) => {
  const handle = await DBOS.startWorkflow(saga, { workflowID: order.order })(order);
  await handle.getResult();
});
