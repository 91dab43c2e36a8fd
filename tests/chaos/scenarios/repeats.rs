//! F2: every activity is run twice, every step fails for good, and every undo that follows is run twice.

use std::path::PathBuf;

use engine::journal::Direction;
use engine::testing::{Boundary, BoundaryFault, BoundaryHarm};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use super::crash_points::breaks_off;
use crate::cases::{self, BEFORE_PIVOT, Case};
use crate::report::Report;
use crate::run::Size;

pub(super) fn run(
    name: &'static str,
    seed: u64,
    size: Size,
    logs: PathBuf,
) -> LocalBoxFuture<'static, anyhow::Result<Report>> {
    async move {
        let cases = cases::faults(|harm| !breaks_off(harm)).into_iter().map(case).collect();
        let mut report = cases::run_all(name, seed, size, &logs, cases).await?;
        report.needs(&["twice", "reject", "give_up", "undo_twice", "undo_reject", "let_go"]);
        Ok(report)
    }
    .boxed_local()
}

/// The fault and what follows from it.
fn case(fault: BoundaryFault) -> Case {
    let turns_back = match (fault.direction, fault.harm) {
        (Direction::Backward, _) => return Case { faults: vec![fault], ending: "declined" },
        (Direction::Forward, BoundaryHarm::Twice) => None,
        (Direction::Forward, _) => BEFORE_PIVOT.iter().position(|step| *step == fault.activity),
    };
    let Some(at) = turns_back else { return Case { faults: vec![fault], ending: "completed" } };
    // What said no did nothing; what was given up may have happened, and is undone too.
    let undone = if fault.harm == BoundaryHarm::Reject { at } else { at + 1 };
    let undos = BEFORE_PIVOT[..undone].iter().map(|activity| BoundaryFault {
        boundary: Boundary::BeforeCall,
        direction: Direction::Backward,
        activity: (*activity).to_owned(),
        harm: BoundaryHarm::Twice,
    });
    Case { faults: std::iter::once(fault.clone()).chain(undos).collect(), ending: "failed" }
}
