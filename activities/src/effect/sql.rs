//! The statements on a table `effect`, for whichever schema has one.

/// The statements on one schema's table `effect`. Rows are written in the order of their key, so
/// that two batches with a call in common wait for each other instead of deadlocking.
#[derive(Debug)]
pub(crate) struct EffectSql {
    pub(super) claim: &'static str,
    pub(super) claim_undo: &'static str,
    pub(super) earlier: &'static str,
    pub(super) reject: &'static str,
    pub(super) withdraw: &'static str,
}

impl EffectSql {
    pub(crate) const fn new(
        claim: &'static str,
        claim_undo: &'static str,
        earlier: &'static str,
        reject: &'static str,
        withdraw: &'static str,
    ) -> Self {
        Self { claim, claim_undo, earlier, reject, withdraw }
    }

    /// Every statement, to be prepared by a test.
    pub(crate) const fn all(&self) -> [&'static str; 5] {
        [self.claim, self.claim_undo, self.earlier, self.reject, self.withdraw]
    }
}

/// The [`EffectSql`] of a schema.
macro_rules! effect_sql {
    ($schema:literal) => {
        $crate::effect::EffectSql::new(
            concat!(
                "insert into ", $schema, ".effect (saga_id, step, kind, answer, output)
                 select call.saga_id, call.step, 'do', 'done', call.output
                 from unnest($1::uuid[], $2::integer[], $3::text[]) as call (saga_id, step, output)
                 order by call.saga_id, call.step
                 on conflict (saga_id, step, kind) do nothing
                 returning saga_id, step"
            ),
            concat!(
                "insert into ", $schema, ".effect (saga_id, step, kind, answer)
                 select call.saga_id, call.step, row.kind, row.answer
                 from unnest($1::uuid[], $2::integer[]) as call (saga_id, step)
                 cross join (values ('do', 'shut_out'), ('undo', 'done')) as row (kind, answer)
                 order by call.saga_id, call.step, row.kind
                 on conflict (saga_id, step, kind) do nothing
                 returning saga_id, step, kind"
            ),
            concat!(
                "select effect.saga_id, effect.step, effect.answer, effect.output
                 from unnest($1::uuid[], $2::integer[]) as call (saga_id, step)
                 join ", $schema, ".effect using (saga_id, step)
                 where effect.kind = 'do'"
            ),
            concat!(
                "update ", $schema, ".effect
                 set answer = 'rejected', output = call.output
                 from unnest($1::uuid[], $2::integer[], $3::text[]) as call (saga_id, step, output)
                 where effect.saga_id = call.saga_id and effect.step = call.step
                   and effect.kind = 'do'"
            ),
            concat!(
                "delete from ", $schema, ".effect
                 using unnest($1::uuid[], $2::integer[]) as call (saga_id, step)
                 where effect.saga_id = call.saga_id and effect.step = call.step
                   and effect.kind = $3"
            ),
        )
    };
}
pub(crate) use effect_sql;
