-- Orders, what they cost, and what happened to them.
--
-- Money is a whole number of the currency's smallest unit (cents, yen) beside its ISO 4217 code,
-- never a fraction. Who may change what from which state stands in the statements' where clauses;
-- what must be true of a row, whoever wrote it, stands here.
create schema if not exists orders;

-- What the shop asks for a product. The client of a checkout sends sku and quantity only.
create table orders.price (
    sku      text    not null,
    currency text    not null,
    amount   bigint  not null,
    name     text    not null,
    primary key (sku, currency),

    constraint price_sku_is_named         check (sku <> '' and length(sku) <= 64),
    constraint price_currency_is_iso_4217 check (currency ~ '^[A-Z]{3}$'),
    constraint price_is_not_negative      check (amount >= 0)
);

-- One row an order.
--
--   pending -> confirmed -> cancelled
--   pending -> cancelled
--
-- `pending` is the semantic lock: the saga that made the order is still deciding about it. Shipping,
-- tax and discount are columns from the start, so that totals stay honest when they arrive.
create table orders.orders (
    id            uuid        primary key,
    customer_id   text        not null,
    saga_id       uuid        not null,
    status        text        not null,
    cancel_reason text,
    currency      text        not null,
    subtotal      bigint      not null,
    shipping      bigint      not null default 0,
    tax           bigint      not null default 0,
    discount      bigint      not null default 0,
    total         bigint      not null generated always as (subtotal + shipping + tax - discount) stored,
    created_at    timestamptz not null default now(),
    confirmed_at  timestamptz,
    cancelled_at  timestamptz,

    constraint orders_one_order_a_saga       unique (saga_id),
    constraint orders_customer_is_named      check (customer_id <> '' and length(customer_id) <= 200),
    constraint orders_status_is_known        check (status in ('pending', 'confirmed', 'cancelled')),
    constraint orders_currency_is_iso_4217   check (currency ~ '^[A-Z]{3}$'),
    constraint orders_amounts_not_negative   check (least(subtotal, shipping, tax, discount, total) >= 0),
    constraint orders_confirmed_has_its_time check (status <> 'confirmed' or confirmed_at is not null),
    constraint orders_cancelled_has_its_time check ((status = 'cancelled') = (cancelled_at is not null)),
    constraint orders_cancelled_has_a_reason check ((status = 'cancelled') = (cancel_reason is not null)),
    constraint orders_cancel_reason_is_known check (cancel_reason in (
        'card_declined', 'checkout_undone', 'customer_request', 'admin'))
) with (fillfactor = 80);

-- A customer's orders, newest first, a page at a time.
create index orders_by_customer on orders.orders (customer_id, created_at desc, id desc);

-- What was ordered, at the price of that moment.
create table orders.order_line (
    order_id   uuid   not null references orders.orders (id),
    sku        text   not null,
    name       text   not null,
    quantity   bigint not null,
    unit_price bigint not null,
    line_total bigint not null generated always as (quantity * unit_price) stored,
    primary key (order_id, sku),

    constraint order_line_orders_something      check (quantity > 0),
    constraint order_line_price_is_not_negative check (unit_price >= 0)
);

-- What happened to an order, in order: append-only, each row written with the change it tells of.
create table orders.order_event (
    order_id uuid        not null references orders.orders (id),
    seq      integer     not null,
    type     text        not null,
    -- Who did it: `saga <id>`, `operator <name>`.
    actor    text        not null,
    data     jsonb       not null default '{}',
    at       timestamptz not null default now(),
    primary key (order_id, seq),

    constraint order_event_counts_from_one check (seq > 0)
);
