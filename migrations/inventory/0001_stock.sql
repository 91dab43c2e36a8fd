-- What is on the shelf, what is promised of it, and why both are what they are.
--
-- Every change goes through one transaction that locks the stock rows in the order of their sku, so
-- that two baskets can never wait for each other. Who may change what from which state stands in
-- the statements' where clauses; what must be true of a row, whoever wrote it, stands here.
create schema if not exists inventory;

-- One row a product. `reserved` of the `on_hand` units belong to open reservations; what may still be
-- promised is the difference. Half of each page stays free: these are the rows that change with
-- every order, and an update that finds room on its page touches no index.
create table inventory.stock (
    sku        text        primary key,
    on_hand    bigint      not null,
    reserved   bigint      not null default 0,
    updated_at timestamptz not null default now(),

    constraint stock_sku_is_named     check (sku <> '' and length(sku) <= 64),
    constraint stock_never_oversold   check (0 <= reserved and reserved <= on_hand)
) with (fillfactor = 50);

-- One row an order: what it was promised and how that ended.
--
--   held -> pinned -> committed      the way of an order that is paid
--   held -> expired                  nobody paid in time
--   held | pinned -> released        the order was taken back
--
-- A held reservation runs out at `expires_at`; a pinned one does not, because money may be moving.
create table inventory.reservation (
    order_id   uuid        primary key,
    state      text        not null,
    expires_at timestamptz,
    created_at timestamptz not null default now(),
    closed_at  timestamptz,

    constraint reservation_state_is_known
        check (state in ('held', 'pinned', 'committed', 'released', 'expired')),
    constraint reservation_expires_while_held
        check ((state = 'held') = (expires_at is not null)),
    constraint reservation_closed_when_over
        check ((state in ('committed', 'released', 'expired')) = (closed_at is not null))
) with (fillfactor = 70);

-- What a reservation is made of: one row a sku, however often the basket named it. No foreign key to
-- the stock: the statement that writes a line has just locked that row, and `verify` adds both up.
create table inventory.reservation_line (
    order_id uuid   not null references inventory.reservation (order_id),
    sku      text   not null,
    quantity bigint not null,
    primary key (order_id, sku),

    constraint reservation_line_takes_something check (quantity > 0)
);

-- Why `on_hand` is what it is: append-only, and its sum by sku is `on_hand`. `ref` names the cause (an
-- order, a delivery); the same cause moves a sku once, so a delivery that is booked twice counts once.
create table inventory.stock_movement (
    sku   text        not null,
    delta bigint      not null,
    kind  text        not null,
    ref   text        not null,
    at    timestamptz not null default now(),
    primary key (kind, ref, sku),

    constraint stock_movement_kind_is_known
        check (kind in ('initial', 'receipt', 'adjust', 'sale', 'return')),
    constraint stock_movement_moves_something
        check (delta <> 0),
    constraint stock_movement_goes_its_way
        check (kind = 'adjust' or (kind = 'sale') = (delta < 0))
);
