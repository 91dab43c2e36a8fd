-- Who may call: API keys. A key is a random 256-bit token; only its SHA-256 is kept.
create schema access;

create table access.api_key (
    key_id      uuid primary key,
    name        text not null check (length(name) between 1 and 100),
    role        text not null check (role in ('shop', 'customer', 'operator', 'admin', 'ops')),
    -- the one customer a key of that role speaks for
    subject     text check (length(subject) between 1 and 200),
    token_hash  bytea not null unique check (length(token_hash) = 32),
    created_at  timestamptz not null,
    revoked_at  timestamptz,
    constraint a_customer_key_has_a_subject check ((role = 'customer') = (subject is not null))
);
