//! Which steps to undo, in which order: from the journal's state alone.

use sha2::{Digest, Sha256};

use crate::activity::ClassKind;
use crate::journal::{Plan, PlannedUndo};
use crate::state::{Kind, State, Status};

impl Plan {
    /// Everything since the last pivot whose effect exists or may exist, the latest first; the
    /// steps of a `join` together.
    pub fn of(state: &State) -> Self {
        let mut groups: Vec<(u32, Vec<PlannedUndo>)> = Vec::new();
        for (index, step) in
            state.steps.iter().enumerate().skip(state.pivot.unwrap_or(0) as usize).rev()
        {
            let number = index as u32 + 1;
            let Kind::Activity { name, class: ClassKind::Undoable, with } = &step.kind else {
                continue;
            };
            let done = match step.status {
                Status::Done => true,
                Status::Open => false,
                // Rejected or given up: only if an attempt of it may have happened after all.
                Status::Rejected | Status::GivenUp if step.unsure => false,
                Status::Rejected | Status::GivenUp => continue,
            };
            let undo = PlannedUndo { step: number, name: name.clone(), done };
            let leader = with.unwrap_or(number);
            match groups.last_mut() {
                Some((last, group)) if *last == leader => group.push(undo),
                _ => groups.push((leader, vec![undo])),
            }
        }
        let groups: Vec<_> = groups.into_iter().map(|(_, group)| group).collect();
        let digest = digest(&groups);
        Self { groups, digest }
    }
}

pub(crate) fn digest(groups: &[Vec<PlannedUndo>]) -> String {
    let mut hash = Sha256::new();
    for (number, undo) in
        groups.iter().enumerate().flat_map(|(n, group)| group.iter().map(move |undo| (n, undo)))
    {
        hash.update(format!("{number} {} {} {}\n", undo.step, undo.name, undo.done));
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
