-- The audit as a chain: the hash of each row covers the row and the hash before it, and the head says
-- how many there are. Whoever changes or removes a row leaves a chain that does not add up; `amends
-- verify` names the row.
create table saga.audit_head (
    is_head boolean primary key default true check (is_head),
    seq     bigint not null,
    hash    bytea not null
);
insert into saga.audit_head (seq, hash) values (0, sha256(''));

alter table saga.audit add column seq bigint, add column hash bytea;

-- Canonical: jsonb has one text for one value, and the time is in UTC whatever the session's zone.
create function saga.audit_hash(before bytea, written saga.audit) returns bytea
language sql immutable as $$
    select sha256(before || convert_to(jsonb_build_object(
        'seq', written.seq,
        'audit_id', written.audit_id,
        'at', to_char(written.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'actor', written.actor,
        'action', written.action,
        'shard_id', written.shard_id,
        'saga_id', written.saga_id,
        'reason', written.reason,
        'request_id', written.request_id,
        'detail', written.detail)::text, 'UTF8'))
$$;

-- One writer after the other: the head is locked until the row is durable.
create function saga.chain_audit() returns trigger language plpgsql as $$
declare
    head saga.audit_head;
begin
    select * into strict head from saga.audit_head for update;
    new.seq := head.seq + 1;
    new.hash := saga.audit_hash(head.hash, new);
    update saga.audit_head set seq = new.seq, hash = new.hash;
    return new;
end
$$;

-- What was written before there was a chain, in its order.
do $$
declare
    written saga.audit;
    head    saga.audit_head;
begin
    for written in select * from saga.audit order by at, audit_id loop
        select * into strict head from saga.audit_head;
        written.seq := head.seq + 1;
        written.hash := saga.audit_hash(head.hash, written);
        update saga.audit set seq = written.seq, hash = written.hash where audit_id = written.audit_id;
        update saga.audit_head set seq = written.seq, hash = written.hash;
    end loop;
end
$$;
alter table saga.audit alter column seq set not null, alter column hash set not null;
create unique index audit_seq on saga.audit (seq);
create trigger audit_is_chained before insert on saga.audit
    for each row execute function saga.chain_audit();

create function saga.keep_audit() returns trigger language plpgsql as $$
begin
    raise exception 'the audit is append-only' using errcode = 'insufficient_privilege';
end
$$;
create trigger audit_is_kept before update or delete or truncate on saga.audit
    for each statement execute function saga.keep_audit();
