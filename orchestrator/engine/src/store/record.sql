-- One commit of a lane: what many sagas of many shards have to write, whole or not at all.
-- `again`: when it is written once more, after a commit whose answer was lost. A row that is there already
-- is our own then, nobody else can write it. Only then: to look first costs as much as to write.
with fence as materialized (
    -- Locked `for share`: a takeover updates these rows, so it waits for this commit, and a commit
    -- after it finds another fence. (`for key share`, or only reading, lets a zombie's row land.)
    select s.fence
      from saga.shard s
      join unnest($1::smallint[], $2::uuid[]) f(shard_id, fence)
        on s.shard_id = f.shard_id and s.fence = f.fence
     order by s.shard_id
       for share of s
), gate as materialized (
    select count(*) = cardinality($1::smallint[]) as open from fence
), keyed as (
    -- A start key is taken once; also twice in one batch.
    insert into saga.start_key (shard_id, key_hash, saga_id, fingerprint, created_at)
    select n.shard_id, n.key_hash, n.saga_id, n.fingerprint, n.created_at
      from unnest($3::smallint[], $4::uuid[], $5::bytea[], $6::bytea[], $7::timestamptz[])
           n(shard_id, saga_id, key_hash, fingerprint, created_at)
     where n.key_hash is not null and (select open from gate)
        on conflict do nothing
    returning saga_id
), started as (
    insert into saga.saga (shard_id, saga_id, created_at, changed_at, workflow, root, business_key,
                           subject, codec, input, direction, phase, ending, step, activity, next_at,
                           rev)
    select n.shard_id, n.saga_id, n.created_at, n.created_at, n.workflow, n.root, n.business_key,
           n.subject, 0, n.input, 'forward', n.phase, n.ending, n.step, n.activity, n.next_at, n.rev
      from unnest($3::smallint[], $4::uuid[], $5::bytea[], $7::timestamptz[], $8::text[],
                  $9::uuid[], $10::text[], $11::text[], $12::bytea[], $13::text[], $14::text[],
                  $15::integer[], $16::text[], $17::timestamptz[], $18::integer[])
           n(shard_id, saga_id, key_hash, created_at, workflow, root, business_key, subject, input,
             phase, ending, step, activity, next_at, rev)
     where (select open from gate)
       and (n.key_hash is null or n.saga_id in (select saga_id from keyed))
        on conflict do nothing -- again
), written as (
    insert into saga.entry (shard_id, saga_id, seq, at, codec, fingerprint, body)
    select e.shard_id, e.saga_id, e.seq, e.at, 0, e.fingerprint, e.body
      from unnest($19::smallint[], $20::uuid[], $21::integer[], $22::timestamptz[], $23::text[],
                  $24::bytea[], $25::boolean[])
           e(shard_id, saga_id, seq, at, fingerprint, body, with_key)
     where (select open from gate)
       and (not e.with_key or e.saga_id in (select saga_id from keyed))
        on conflict do nothing -- again
), changed as (
    update saga.saga s
       set direction = c.direction, phase = c.phase, ending = c.ending, step = c.step,
           activity = c.activity, attempt = c.attempt, first_failed_at = c.first_failed_at,
           next_at = c.next_at, dependency = c.dependency, error_code = c.error_code,
           error_message = c.error_message, fingerprint = c.fingerprint, attention = c.attention,
           rev = c.rev, changed_at = c.changed_at
      from unnest($26::smallint[], $27::uuid[], $28::text[], $29::text[], $30::text[],
                  $31::integer[], $32::text[], $33::integer[], $34::timestamptz[],
                  $35::timestamptz[], $36::text[], $37::text[], $38::text[], $39::text[],
                  $40::text[], $41::integer[], $42::timestamptz[])
           c(shard_id, saga_id, direction, phase, ending, step, activity, attempt, first_failed_at,
             next_at, dependency, error_code, error_message, fingerprint, attention, rev, changed_at)
     where s.shard_id = c.shard_id and s.saga_id = c.saga_id and (select open from gate)
       -- A commit that was given up and written again may still arrive late, under the same fence.
       and s.rev <= c.rev
), taken as (
    delete from saga.inbox i
     using unnest($43::smallint[], $44::uuid[]) t(shard_id, message_id)
     where i.shard_id = t.shard_id and i.message_id = t.message_id and (select open from gate)
)
select (select array_agg(fence) from fence) as held,
       (select array_agg(saga_id) from keyed) as keyed
