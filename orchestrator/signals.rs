//! Ctrl-C and SIGTERM: the first asks the program to end, the second ends it.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What a shell reports of a program that Ctrl-C ended. A hand-over that was let finish is no such end.
pub(crate) const INTERRUPTED: u8 = 130;

/// A token that the first Ctrl-C or SIGTERM cancels. The second ends the process at once, as a crash
/// would: what was accepted goes on at the next start.
pub(crate) fn stop_token() -> anyhow::Result<CancellationToken> {
    let mut signals = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        any(&mut signals).await;
        eprintln!("stopping: what is under way ends first (once more to stop at once)");
        stop.cancel();
        any(&mut signals).await;
        std::process::exit(INTERRUPTED.into());
    });
    Ok(token)
}

async fn any([interrupt, terminate]: &mut [Signal; 2]) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
