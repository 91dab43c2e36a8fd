//! Places all carts: so many at a time, with a progress bar where somebody looks.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::plan::Checkout;
use super::shopper::Shopper;
use super::tally::Tally;

/// How long after the last customer the next one comes, until there are as many as there may be: they do
/// not all open the door in the same instant.
const ARRIVES_AFTER: Duration = Duration::from_millis(2);

/// Places them, at most `in_flight` at a time, and counts.
pub(super) async fn place(
    shopper: &Shopper,
    checkouts: Vec<Checkout>,
    in_flight: usize,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let progress = Progress::new(checkouts.len() as u64);
    let mut rest = checkouts.into_iter();
    // Dropped, it sends nothing more.
    let mut running = JoinSet::new();
    let opened = Instant::now();
    loop {
        let came = 1 + opened.elapsed().div_duration_f64(ARRIVES_AFTER) as usize;
        let room = came.min(in_flight);
        while running.len() < room
            && let Some(checkout) = rest.next()
        {
            running.spawn(shopper.clone().place(checkout));
        }
        tokio::select! {
            placed = running.join_next() => {
                let Some(placed) = placed else { break };
                tally.add(placed??);
                progress.step();
            }
            () = sleep(ARRIVES_AFTER), if room < in_flight => {}
        }
    }
    Ok(())
}

/// A bar on a terminal, some lines elsewhere.
struct Progress {
    bar: ProgressBar,
    is_seen: bool,
}

impl Progress {
    fn new(checkouts: u64) -> Self {
        let style = ProgressStyle::with_template(
            "placing {pos}/{len} carts {bar:40} {per_sec}, {eta} left",
        );
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        // Hidden where stderr is not a terminal.
        let bar = ProgressBar::new(checkouts).with_style(style);
        Self { bar, is_seen: std::io::stderr().is_terminal() }
    }

    fn step(&self) {
        self.bar.inc(1);
        let (done, all) = (self.bar.position(), self.bar.length().unwrap_or(1));
        let tenth = |done: u64| done * 10 / all.max(1);
        if !self.is_seen && tenth(done) > tenth(done - 1) {
            eprintln!("placed {done} of {all} checkouts");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
