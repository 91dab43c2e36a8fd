-- The money of an order: our book of it. The payment gateway keeps its own, and `verify` compares them.

-- One row an order, written when its PaymentIntent is created, so before money can move.
--
--   created -> requires_action | processing | authorized | captured | declined | voided | unknown
--   requires_action, processing -> authorized | captured | declined | voided | unknown
--   authorized -> captured | voided | unknown
--   declined -> voided, or on again with another payment method
--   unknown -> any of them, by asking the gateway for the intent; never by guessing
--
-- `captured` never goes back: what was returned stands beside it.
create table orders.payment (
    order_id     uuid        primary key references orders.orders (id),
    intent_id    text        not null,
    status       text        not null,
    currency     text        not null,
    amount       bigint      not null,
    authorized   bigint      not null default 0,
    captured     bigint      not null default 0,
    refunded     bigint      not null default 0,
    decline_code text,
    -- What the customer has to do, as the gateway says it (3-D Secure).
    next_action  jsonb,
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now(),

    constraint payment_one_order_an_intent    unique (intent_id),
    constraint payment_status_is_known        check (status in (
        'created', 'requires_action', 'processing', 'authorized', 'captured', 'declined', 'voided',
        'unknown')),
    constraint payment_currency_is_iso_4217   check (currency ~ '^[A-Z]{3}$'),
    constraint payment_amount_is_positive     check (amount > 0),
    constraint payment_never_more_than_agreed check (
        0 <= refunded and refunded <= captured and captured <= authorized and authorized <= amount),
    constraint payment_captured_has_money     check ((status = 'captured') = (captured > 0)),
    constraint payment_action_while_required  check (status = 'requires_action' or next_action is null)
) with (fillfactor = 70);

-- Money on its way back. `payment.refunded` is the sum of those that succeeded.
create table orders.refund (
    id                uuid        primary key,
    order_id          uuid        not null references orders.payment (order_id),
    amount            bigint      not null,
    reason            text        not null,
    status            text        not null,
    gateway_refund_id text        unique,
    created_at        timestamptz not null default now(),
    updated_at        timestamptz not null default now(),

    constraint refund_amount_is_positive check (amount > 0),
    constraint refund_status_is_known    check (status in (
        'requested', 'pending', 'succeeded', 'failed', 'canceled'))
);
create index refund_by_order on orders.refund (order_id);

-- Webhooks, kept by the gateway's event id before they are answered: one that is sent again changes
-- nothing, one that can not be matched to a saga waits here and is never dropped.
create table orders.gateway_event (
    id           text        primary key,
    type         text        not null,
    intent_id    text,
    created      timestamptz not null,
    payload      text        not null,
    received_at  timestamptz not null default now(),
    processed_at timestamptz
);
create index gateway_event_unprocessed on orders.gateway_event (received_at) where processed_at is null;
