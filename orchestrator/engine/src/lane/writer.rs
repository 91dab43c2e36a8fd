//! Writes batches: each whole, in one commit, again and again until every record has its answer.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use uuid::Uuid;

use super::{BATCH_BYTES_MAX, Queued, Written};
use crate::error::StoreError;
use crate::id::SagaId;
use crate::metrics::Meters;
use crate::store::record::{Record, Recorded, Recorder};
use crate::store::{Store, Timeline};

/// A commit that takes longer is given up with its connection, and written again.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(12);
/// How often a batch may be stopped by the server before it is written in parts: a server that is slow for a
/// moment is no reason.
const STOPS_MAX: u32 = 3;
/// How long to wait before a lost connection is made again.
const RECONNECT_AFTER: Duration = Duration::from_millis(100);

/// A connection that commits. It is made when it is first needed.
pub(super) struct Writer {
    store: Store,
    meters: Meters,
    recorder: Option<Recorder>,
    /// The database took no write of its last one.
    is_down: bool,
    /// How many writers are.
    down: Arc<AtomicUsize>,
}

/// What became of a batch so far, and how much patience there is with it.
#[derive(Clone, Copy)]
struct Tries {
    /// It may be there already.
    is_repeat: bool,
    /// An attempt whose connection was lost may still be under way.
    may_land: bool,
    /// After so many times that the server stopped it, one after the other, it is written in parts.
    stops_max: u32,
}

impl Writer {
    /// `down` counts the writers whose database takes no writes.
    pub(super) fn new(store: Store, meters: Meters, down: Arc<AtomicUsize>) -> Self {
        Self { store, meters, recorder: None, is_down: false, down }
    }

    /// Writes a batch, and answers. One that is too large in several commits.
    pub(super) async fn write(&mut self, mut batch: Vec<Queued>) {
        while !batch.is_empty() {
            let rest = batch.split_off(fitting(&batch));
            self.write_part(batch).await;
            batch = rest;
        }
    }

    async fn write_part(&mut self, batch: Vec<Queued>) {
        let started = Instant::now();
        self.meters.batch_size.record(batch.len() as f64);
        // What panics is a bug. It costs its batch, whose sagas are read again, and nobody their queue.
        let first = Tries { is_repeat: false, may_land: false, stops_max: STOPS_MAX };
        if AssertUnwindSafe(self.commit(batch, first)).catch_unwind().await.is_err() {
            tracing::error!("a commit panicked: its sagas are read again");
            self.recorder = None;
            self.set_down(false);
        }
        self.meters.commits.increment(1);
        self.meters.commit_seconds.record(started.elapsed());
    }

    async fn commit(&mut self, mut batch: Vec<Queued>, mut tries: Tries) {
        let mut stops = 0;
        while !batch.is_empty() {
            let records: Vec<&Record> = batch.iter().map(|queued| &queued.record).collect();
            let recorded = self.attempt(&records, tries.is_repeat).await;
            // A server may take connections and no writes: while its disk is full, say.
            let is_down = matches!(recorded, Err(StoreError::Unavailable(_)));
            self.set_down(is_down);
            let is_stopped =
                recorded.as_ref().is_err_and(|error| error.was_stopped() || error.was_held_up());
            stops = if is_stopped { stops + 1 } else { 0 };
            match recorded {
                Ok(recorded) => {
                    let held: HashSet<Uuid> = recorded.held.into_iter().collect();
                    let lost = |queued: &Queued| !held.contains(&queued.record.fence);
                    if batch.iter().any(lost) {
                        // Nothing was written. Without the lost shards' records the rest will be.
                        batch = self.refuse(batch, lost);
                        continue;
                    }
                    if records.iter().any(|record| record.marks.durable()) {
                        self.meters.ambiguous_commits.increment(1);
                        self.reconnect(&sqlx::Error::PoolClosed).await;
                        tries.is_repeat = true;
                        continue;
                    }
                    let mut keyed: HashSet<SagaId> = recorded.keyed.into_iter().collect();
                    if tries.is_repeat {
                        // A key that is taken may have been taken by this very batch.
                        match self.own_keys(&records).await {
                            Ok(own) => keyed.extend(own),
                            Err(error) => {
                                self.reconnect(&error).await;
                                continue;
                            }
                        }
                    }
                    return answer(batch, &keyed);
                }
                // Somebody's session holds a row of it, say. That must not hold up the others.
                Err(error) if stops == tries.stops_max => {
                    return self.isolate(batch, tries, &error).await;
                }
                Err(StoreError::Unavailable(error)) => {
                    if !is_stopped && self.recorder.is_some() {
                        self.meters.ambiguous_commits.increment(1);
                    }
                    self.reconnect(&error).await;
                    tries.is_repeat = true;
                    tries.may_land |= !is_stopped;
                }
                // Nobody else writes these rows: a commit of ours that was given up has come late.
                Err(error) if error.is_duplicate() && !tries.is_repeat => tries.is_repeat = true,
                Err(error) => return self.isolate(batch, tries, &error).await,
            }
        }
    }

    fn set_down(&mut self, is_down: bool) {
        match (self.is_down, is_down) {
            (false, true) => drop(self.down.fetch_add(1, Ordering::Relaxed)),
            (true, false) => drop(self.down.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
        self.is_down = is_down;
    }

    async fn own_keys(&mut self, records: &[&Record]) -> Result<Vec<SagaId>, sqlx::Error> {
        let Some(recorder) = &mut self.recorder else { return Err(sqlx::Error::PoolClosed) };
        let asking = recorder.own_keys(records);
        tokio::time::timeout(COMMIT_TIMEOUT, asking).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    async fn attempt(&mut self, records: &[&Record], again: bool) -> Result<Recorded, StoreError> {
        let is_of_now =
            |timeline: Timeline| records.iter().all(|record| record.timeline == timeline);
        if let Some(recorder) = &mut self.recorder
            && (!is_of_now(recorder.timeline) || !recorder.answers().await)
        {
            self.recorder = None;
        }
        let recorder = match &mut self.recorder {
            Some(recorder) => recorder,
            None => {
                // Whatever is wrong with a connection that is being made, another may do better.
                let recorder = Recorder::open(&self.store).await.map_err(|error| match error {
                    StoreError::Refused(error) => StoreError::Unavailable(error),
                    error => error,
                })?;
                self.recorder.insert(recorder)
            }
        };
        if !is_of_now(recorder.timeline) {
            // A fence of another line of history holds nothing: entries may be missing that came before.
            let held = records.iter().filter(|record| record.timeline == recorder.timeline);
            let held = held.map(|record| record.fence).collect();
            return Ok(Recorded { held, keyed: Vec::new() });
        }
        match tokio::time::timeout(COMMIT_TIMEOUT, recorder.record(records, again)).await {
            Ok(recorded) => recorded,
            Err(_) => Err(StoreError::unavailable(sqlx::Error::PoolTimedOut)),
        }
    }

    /// A commit whose answer was lost may be there or not. The same batch is written again under
    /// the fence: rows that are there already are our own.
    async fn reconnect(&mut self, error: &sqlx::Error) {
        if self.recorder.take().is_some() {
            tracing::warn!(%error, "the amends database did not write; its lane tries again");
        }
        self.set_down(true);
        tokio::time::sleep(RECONNECT_AFTER).await;
    }

    fn refuse(&self, batch: Vec<Queued>, lost: impl Fn(&Queued) -> bool) -> Vec<Queued> {
        let (refused, kept): (Vec<_>, Vec<_>) = batch.into_iter().partition(lost);
        self.meters.fenced_writes.increment(refused.len() as u64);
        for Queued { record, answer } in refused {
            tracing::warn!(saga = %record.saga_id, shard = record.saga_id.shard(),
                "a write was refused: another node owns the shard now");
            // A saga that is gone does not wait for its answer.
            let _ = answer.send(Written::Fenced);
        }
        kept
    }

    /// The database refuses the batch for a reason that will not pass, or not soon: find the record it is for.
    async fn isolate(&mut self, batch: Vec<Queued>, tries: Tries, error: &StoreError) {
        if let [queued] = &batch[..] {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            let message = cause.unwrap_or_else(|| error.to_string());
            tracing::error!(saga = %queued.record.saga_id, error = message,
                "a saga can not be recorded");
            // The others may be.
            self.set_down(false);
            for queued in batch {
                let _ = queued.answer.send(match error {
                    // What may still land is settled by whoever takes the shard: he waits for it.
                    StoreError::Unavailable(_) if tries.may_land => Written::Fenced,
                    StoreError::Unavailable(_) => Written::Late,
                    _ => Written::Impossible(message.clone()),
                });
            }
            return;
        }
        let mut first = batch;
        let second = first.split_off(first.len() / 2);
        for half in [first, second] {
            Box::pin(self.commit(half, Tries { stops_max: 1, ..tries })).await;
        }
    }
}

/// How many of the first ones go into one commit: at least one, nearly always all.
fn fitting(batch: &[Queued]) -> usize {
    let mut bytes = 0;
    let fits = |queued: &&Queued| {
        bytes += queued.record.bytes();
        bytes <= BATCH_BYTES_MAX
    };
    batch.iter().take_while(fits).count().max(1)
}

fn answer(batch: Vec<Queued>, keyed: &HashSet<SagaId>) {
    for Queued { record, answer } in batch {
        let with_key = record.start.as_ref().is_some_and(|start| start.key.is_some());
        let free = !with_key || keyed.contains(&record.saga_id);
        let _ = answer.send(if free { Written::Yes } else { Written::KeyTaken });
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::boundary::Marks;
    use crate::clock;
    use crate::store::record::NewEntry;

    fn queued(bytes: usize) -> Queued {
        let at = clock::now();
        let entry = NewEntry { seq: 1, at, fingerprint: None, body: vec![b' '; bytes] };
        let record = Record {
            saga_id: SagaId::new(1, at),
            fence: Uuid::nil(),
            timeline: 1,
            start: None,
            entry: Some(entry),
            row: None,
            taken: Vec::new(),
            marks: Marks::default(),
        };
        Queued { record, answer: oneshot::channel().0 }
    }

    #[test]
    fn what_is_too_large_for_one_commit_is_written_in_several_in_its_order() {
        let mega = 1_024 * 1_024;
        let split = |sizes: &[usize]| -> Vec<Vec<usize>> {
            let mut batch: Vec<Queued> = sizes.iter().map(|bytes| queued(*bytes)).collect();
            let mut parts = Vec::new();
            while !batch.is_empty() {
                let rest = batch.split_off(fitting(&batch));
                parts.push(batch.iter().map(|one| one.record.bytes()).collect());
                batch = rest;
            }
            parts
        };
        assert_eq!(split(&[1, 2, 3]), [[1, 2, 3]]);
        assert_eq!(
            split(&[mega, 2 * mega, 2 * mega, 3, 5 * mega, 4]),
            [vec![mega, 2 * mega], vec![2 * mega, 3], vec![5 * mega], vec![4]]
        );
    }
}
