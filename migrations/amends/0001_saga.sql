-- The engine's own schema. Everything a saga is, in seven tables that an outsider may read:
-- saga, entry, shard, node, inbox, start_key, audit. `shard_id` comes first in every key, so that the
-- schema can be distributed by it.

-- One row: what was chosen when the database was made, and can not change while sagas live in it.
create table saga.setting (
    one         boolean primary key default true check (one),
    shards      smallint not null check (shards between 1 and 4096)
);

-- A node is one running engine. Its lease says that it is alive, by the clock of this database.
create table saga.node (
    node_id     uuid primary key,
    name        text not null,
    version     text not null,
    workflows   text[] not null,
    started_at  timestamptz not null,
    lease_until timestamptz not null
);

-- Who may write which sagas. `fence` is a random value of each ownership: every commit of the owner
-- locks this row `for share` and compares it, so a takeover (an update) waits for the commits in
-- flight and shuts out every later one of the former owner.
create table saga.shard (
    shard_id    smallint primary key check (shard_id >= 0),
    fence       uuid not null,
    node_id     uuid,
    taken_at    timestamptz
);

-- One row a saga: how it stands, as a person would ask. Written at the start, at the end, and when
-- something changes that a person would see; not at each successful step.
create table saga.saga (
    shard_id        smallint not null,
    saga_id         uuid not null,
    workflow        text not null,
    -- what the outside world's idempotency keys derive from: from the start key if there was one,
    -- else the saga's own id
    root            uuid not null,
    business_key    text check (length(business_key) <= 200),
    subject         text check (length(subject) <= 200),
    codec           smallint not null,
    input           bytea not null,
    created_at      timestamptz not null,
    direction       text not null default 'forward' check (direction in ('forward', 'backward')),
    phase           text not null default 'running' check (phase in ('running', 'waiting', 'retrying', 'held', 'ended')),
    ending          text check (ending in ('completed', 'undone', 'cancelled', 'closed_with_residue')),
    -- the step it is at, as of the last write of this row
    step            integer not null default 0 check (step >= 0),
    activity        text,
    attempt         integer not null default 0 check (attempt >= 0),
    first_failed_at timestamptz,
    -- when the engine will do the next thing; an open saga whose time is long past is overdue
    next_at         timestamptz,
    dependency      text,
    error_code      text,
    error_message   text,
    fingerprint     text,
    -- set when only a person, or somebody outside, can make it go on
    attention       text,
    -- the journal's length when this row was last written
    rev             integer not null default 0 check (rev >= 0),
    -- how often a new owner found it at the same place, and which place that was
    claims          smallint not null default 0,
    claimed_rev     integer,
    changed_at      timestamptz not null,
    primary key (shard_id, saga_id),
    constraint ended_has_an_ending check ((phase = 'ended') = (ending is not null)),
    constraint open_has_a_next_time check ((phase = 'ended') = (next_at is null)),
    constraint completed_went_forward check (ending is distinct from 'completed' or direction = 'forward'),
    constraint undone_went_backward check (ending is null or ending not in ('undone', 'cancelled') or direction = 'backward')
) partition by range (saga_id);

-- Partial indexes over open sagas only: history of any length costs them nothing.
create index saga_open on saga.saga (shard_id, next_at, saga_id) where phase <> 'ended';
create index saga_attention on saga.saga (attention, saga_id) where attention is not null and phase <> 'ended';
create index saga_failing on saga.saga (fingerprint, saga_id) where fingerprint is not null and phase <> 'ended';

-- The journal: one row a commit of a saga, holding the facts of that commit as a JSON list.
-- `fingerprint` repeats that of a failed attempt, if the entry has one, so that failures can be found.
create table saga.entry (
    shard_id    smallint not null,
    saga_id     uuid not null,
    seq         integer not null check (seq > 0),
    at          timestamptz not null,
    codec       smallint not null,
    fingerprint text,
    body        bytea not null,
    primary key (shard_id, saga_id, seq)
) partition by range (saga_id);

-- Messages to sagas from whoever is not their owner: announced starts, signals, what operators want.
-- The owner takes a message in the same commit as what follows from it.
create table saga.inbox (
    shard_id    smallint not null,
    message_id  uuid not null,
    saga_id     uuid not null,
    at          timestamptz not null,
    body        jsonb not null,
    primary key (shard_id, message_id)
);

-- Which saga a start key belongs to, and what it was started with.
create table saga.start_key (
    shard_id    smallint not null,
    key_hash    bytea not null check (length(key_hash) = 32),
    saga_id     uuid not null,
    fingerprint bytea not null,
    created_at  timestamptz not null,
    primary key (shard_id, key_hash)
);

-- Who did what to which saga, and why. Append-only: the role that serves may not change it.
create table saga.audit (
    audit_id    uuid primary key,
    at          timestamptz not null,
    actor       text not null,
    action      text not null,
    shard_id    smallint,
    saga_id     uuid,
    reason      text not null check (reason <> ''),
    request_id  text,
    detail      jsonb not null
);
create index audit_saga on saga.audit (saga_id, at);

-- What a schedule did: the unique pair is what makes it happen once among many nodes.
create table saga.schedule_run (
    schedule      text not null,
    scheduled_for timestamptz not null,
    node_id       uuid not null,
    primary key (schedule, scheduled_for)
);

-- The journal for human eyes. Reads plain JSON only; other codecs are read by the program.
create view saga.history as
select e.shard_id, e.saga_id, e.seq, f.number, e.at,
       fact.key as fact, fact.value as detail
  from saga.entry e
 cross join lateral jsonb_array_elements(convert_from(e.body, 'UTF8')::jsonb) with ordinality f(body, number)
 cross join lateral (
     select key, value from jsonb_each(case jsonb_typeof(f.body) when 'object' then f.body else jsonb_build_object(f.body #>> '{}', null) end)
 ) fact
 where e.codec = 0;
