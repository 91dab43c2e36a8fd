-- What a step of a saga did here, written in the same transaction as the doing. Whatever is sent
-- twice finds its row and answers what it answered before. Taking back writes the action's row too
-- when that is not there yet, as `shut_out`: an action that arrives after its own undo is refused.
create table inventory.effect (
    saga_id uuid        not null,
    step    integer     not null,
    kind    text        not null,
    answer  text        not null,
    -- JSON: what the action gave, or why it was rejected.
    output  text,
    at      timestamptz not null default now(),
    primary key (saga_id, step, kind),

    constraint effect_step_counts_from_one check (step > 0),
    constraint effect_kind_is_known        check (kind in ('do', 'undo')),
    constraint effect_answer_is_known      check (answer in ('done', 'rejected', 'shut_out')),
    constraint effect_undo_is_only_done    check (kind = 'do' or answer = 'done')
);
