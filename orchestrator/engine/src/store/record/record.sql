-- One commit of a lane: what many sagas of many shards have to write, whole or not at all.
-- `again`: when it is written once more, after a commit whose answer was lost. A row that is there already
-- is our own then, nobody else can write it. Only then: to look first costs as much as to write.
-- Arrays are unnested in lists of columns, not in `from`: there PostgreSQL keeps each of them once more, in
-- a store of its own, which takes four times as long.
with fence as materialized (
    -- Locked `for share`: a takeover updates these rows, so it waits for this commit, and a commit
    -- after it finds another fence. (`for key share`, or only reading, lets a zombie's row land.)
    select s.fence
      from saga.shard s
      join (select unnest($1::smallint[]) as shard_id, unnest($2::uuid[]) as fence) f
        on s.shard_id = f.shard_id and s.fence = f.fence
     order by s.shard_id
       for share of s
), gate as materialized (
    select count(*) = cardinality($1::smallint[]) as open from fence
), keyed as (
    -- A start key is taken once; also twice in one batch.
    insert into saga.start_key (shard_id, key_hash, saga_id, fingerprint, created_at)
    select n.shard_id, n.key_hash, n.saga_id, n.fingerprint, n.created_at
      from (select unnest($3::smallint[]) as shard_id, unnest($4::uuid[]) as saga_id,
                   unnest($5::bytea[]) as key_hash, unnest($6::bytea[]) as fingerprint,
                   unnest($7::timestamptz[]) as created_at) n
     where n.key_hash is not null and (select open from gate)
        on conflict do nothing
    returning saga_id
), started as (
    insert into saga.saga (shard_id, saga_id, created_at, changed_at, workflow, root, business_key,
                           subject, codec, input, direction, phase, ending, step, activity, next_at,
                           rev)
    select n.shard_id, n.saga_id, n.created_at, n.created_at, n.workflow, n.root, n.business_key,
           n.subject, 0, n.input, 'forward', n.phase, n.ending, n.step, n.activity, n.next_at, n.rev
      from (select unnest($3::smallint[]) as shard_id, unnest($4::uuid[]) as saga_id,
                   unnest($5::bytea[]) as key_hash, unnest($7::timestamptz[]) as created_at,
                   unnest($8::text[]) as workflow, unnest($9::uuid[]) as root,
                   unnest($10::text[]) as business_key, unnest($11::text[]) as subject,
                   unnest($12::bytea[]) as input, unnest($13::text[]) as phase,
                   unnest($14::text[]) as ending, unnest($15::integer[]) as step,
                   unnest($16::text[]) as activity, unnest($17::timestamptz[]) as next_at,
                   unnest($18::integer[]) as rev) n
     where (select open from gate)
       and (n.key_hash is null or n.saga_id in (select saga_id from keyed))
        on conflict do nothing -- again
), written as (
    insert into saga.entry (shard_id, saga_id, seq, at, codec, fingerprint, body)
    select e.shard_id, e.saga_id, e.seq, e.at, 0, e.fingerprint, e.body
      from (select unnest($19::smallint[]) as shard_id, unnest($20::uuid[]) as saga_id,
                   unnest($21::integer[]) as seq, unnest($22::timestamptz[]) as at,
                   unnest($23::text[]) as fingerprint, unnest($24::bytea[]) as body,
                   unnest($25::boolean[]) as with_key) e
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
      from (select unnest($26::smallint[]) as shard_id, unnest($27::uuid[]) as saga_id,
                   unnest($28::text[]) as direction, unnest($29::text[]) as phase,
                   unnest($30::text[]) as ending, unnest($31::integer[]) as step,
                   unnest($32::text[]) as activity, unnest($33::integer[]) as attempt,
                   unnest($34::timestamptz[]) as first_failed_at,
                   unnest($35::timestamptz[]) as next_at, unnest($36::text[]) as dependency,
                   unnest($37::text[]) as error_code, unnest($38::text[]) as error_message,
                   unnest($39::text[]) as fingerprint, unnest($40::text[]) as attention,
                   unnest($41::integer[]) as rev, unnest($42::timestamptz[]) as changed_at) c
     where s.shard_id = c.shard_id and s.saga_id = c.saga_id and (select open from gate)
       -- A commit that was given up and written again may still arrive late, under the same fence.
       and s.rev <= c.rev
), taken as (
    delete from saga.inbox i
     using (select unnest($43::smallint[]) as shard_id, unnest($44::uuid[]) as message_id) t
     where i.shard_id = t.shard_id and i.message_id = t.message_id and (select open from gate)
)
select (select array_agg(fence) from fence) as held,
       (select array_agg(saga_id) from keyed) as keyed
