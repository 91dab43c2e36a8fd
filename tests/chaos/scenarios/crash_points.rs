//! F1: a crash, a stop beyond the lease, an error, a lost answer - at every boundary between intent,
//! attempt and outcome, of every step and every undo. The list is the code's own.

use std::path::PathBuf;

use engine::journal::Direction;
use engine::testing::{BoundaryFault, BoundaryHarm};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use crate::cases::{self, Case};
use crate::report::Report;
use crate::run::Size;

pub(super) fn run(
    name: &'static str,
    seed: u64,
    size: Size,
    logs: PathBuf,
) -> LocalBoxFuture<'static, anyhow::Result<Report>> {
    async move {
        let cases = cases::faults(breaks_off).into_iter().map(case).collect();
        let mut report = cases::run_all(name, seed, size, &logs, cases).await?;
        report.needs(&["abort", "stop", "error", "lose_ack", "ambiguous_commits"]);
        report.needs(&["takeovers", "fenced_writes"]);
        report.needs(&["undo_abort", "undo_stop", "undo_error", "undo_lose_ack"]);
        Ok(report)
    }
    .boxed_local()
}

/// What can happen to any commit and any call. What a call itself does wrong is F2's.
pub(super) const fn breaks_off(harm: BoundaryHarm) -> bool {
    match harm {
        BoundaryHarm::Abort | BoundaryHarm::Stop | BoundaryHarm::Error | BoundaryHarm::LoseAck => {
            true
        }
        BoundaryHarm::Twice | BoundaryHarm::Reject | BoundaryHarm::GiveUp => false,
    }
}

fn case(fault: BoundaryFault) -> Case {
    let ending = match fault.direction {
        Direction::Forward => "completed",
        Direction::Backward => "declined",
    };
    Case { faults: vec![fault], ending }
}
