//! The two files, ledger and state, and the thread that writes them: one sync serves all that wait.
//!
//! The state file is written and synced first, and holds the ledger's lines too. So a crash at any
//! point leaves a ledger that is a prefix of what the state file knows, and `open` completes it.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::idempotency::SavedAnswer;
use crate::intent::Intent;
use crate::ledger::Line;
use crate::refund::Refund;

/// One sync covers at most this many records.
const BATCH_MAX: usize = 4_096;

/// One line of the state file: everything one request changed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    pub(crate) intent: Option<Intent>,
    pub(crate) refund: Option<Refund>,
    pub(crate) answer: Option<SavedAnswer>,
    pub(crate) ledger: Option<Line<'static>>,
    pub(crate) clock_offset_seconds: Option<i64>,
}

/// The same, on its way to the file.
#[derive(Debug, Default, Serialize)]
pub(crate) struct RecordRef<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) intent: Option<&'a Intent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refund: Option<&'a Refund>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) answer: Option<&'a SavedAnswer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ledger: Option<&'a Line<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clock_offset_seconds: Option<i64>,
}

/// Where records are handed over. It does not block: what waits in it is bounded by the requests
/// in flight, for each waits for its record.
#[derive(Clone)]
pub(crate) struct Log {
    queue: Sender<Command>,
    synced: Arc<AtomicU64>,
}

/// Resolves when the record is synced; fails if it never will be.
pub(crate) type Synced = oneshot::Receiver<()>;

enum Command {
    Append {
        seq: u64,
        state: Vec<u8>,
        ledger: Vec<u8>,
        synced: oneshot::Sender<()>,
    },
    /// Answered when everything before it is synced.
    Barrier(oneshot::Sender<()>),
    Stop,
}

struct Writer {
    state: File,
    ledger: File,
    synced: Arc<AtomicU64>,
    lost: CancellationToken,
}

/// The files as found: opened, repaired, and locked against a second simulator.
pub(crate) struct Found {
    state: File,
    ledger: File,
    /// In the order they were written.
    pub(crate) records: Vec<Record>,
}

/// The state file that belongs to a ledger.
fn state_path(ledger: &Path) -> PathBuf {
    let mut name = ledger.as_os_str().to_owned();
    name.push(".state");
    PathBuf::from(name)
}

/// Opens both files and reads what they hold. A torn last line is what a crash leaves; it is cut off.
///
/// # Errors
/// The files can not be used, are damaged, or do not belong together.
pub(crate) fn open(ledger_path: &Path) -> Result<Found, Error> {
    let mut ledger = open_file(ledger_path)?;
    if ledger.try_lock().is_err() {
        return Err(Error::LedgerInUse(ledger_path.to_owned()));
    }
    let state_path = state_path(ledger_path);
    let mut state = open_file(&state_path)?;
    let mut records = Vec::new();
    for (index, line) in read_lines(&mut state, &state_path)?.iter().enumerate() {
        let record = serde_json::from_slice::<Record>(line).map_err(|source| Error::Damaged {
            path: state_path.clone(),
            line: index + 1,
            source,
        })?;
        records.push(record);
    }
    complete_ledger(&mut ledger, ledger_path, &records)?;
    Ok(Found { state, ledger, records })
}

fn complete_ledger(ledger: &mut File, path: &Path, records: &[Record]) -> Result<(), Error> {
    let present = read_lines(ledger, path)?;
    let mut known = records.iter().filter_map(|record| record.ledger.as_ref());
    for (index, line) in present.iter().enumerate() {
        if known.next().map(line_bytes).is_none_or(|known| known != [line, &b"\n"[..]].concat()) {
            return Err(Error::LedgerMismatch { path: path.to_owned(), line: index + 1 });
        }
    }
    let missing: Vec<u8> = known.flat_map(line_bytes).collect();
    let written = ledger.write_all(&missing).and_then(|()| ledger.sync_data());
    written.map_err(|source| file_error(path, "writing", source))
}

fn open_file(path: &Path) -> Result<File, Error> {
    let file = OpenOptions::new().read(true).append(true).create(true).open(path);
    let file = file.map_err(|source| file_error(path, "opening", source))?;
    // A new file's name must survive a crash as well as its contents.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = File::open(folder.unwrap_or_else(|| Path::new(".")));
    let synced = folder.and_then(|folder| folder.sync_all());
    synced.map_err(|source| file_error(path, "syncing the folder of the file", source))?;
    Ok(file)
}

/// The complete lines; what follows the last line end is cut off the file.
fn read_lines(file: &mut File, path: &Path) -> Result<Vec<Vec<u8>>, Error> {
    let mut read = || {
        file.seek(SeekFrom::Start(0))?;
        let mut reader = BufReader::new(&*file);
        let (mut lines, mut complete, mut line) = (Vec::new(), 0, Vec::new());
        while reader.read_until(b'\n', &mut line)? > 0 {
            if line.last() != Some(&b'\n') {
                file.set_len(complete)?;
                break;
            }
            complete += line.len() as u64;
            line.pop();
            lines.push(std::mem::take(&mut line));
        }
        Ok(lines)
    };
    read().map_err(|source| file_error(path, "reading", source))
}

fn file_error(path: &Path, what: &'static str, source: std::io::Error) -> Error {
    Error::File { path: path.to_owned(), what, source }
}

/// A ledger line's bytes, with the line end.
fn line_bytes(line: &Line<'_>) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(line).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

impl Found {
    /// Starts the thread that writes. `lost` is cancelled if it can not go on.
    pub(crate) fn start(self, lost: CancellationToken) -> (Log, JoinHandle<()>) {
        let (queue, incoming) = channel();
        let synced = Arc::new(AtomicU64::new(0));
        let writer =
            Writer { state: self.state, ledger: self.ledger, synced: Arc::clone(&synced), lost };
        let thread = std::thread::spawn(move || writer.run(&incoming));
        (Log { queue, synced }, thread)
    }
}

impl Log {
    /// Hands a record over; the order of calls is the order in the files.
    pub(crate) fn append(&self, seq: u64, record: &RecordRef<'_>) -> Synced {
        let (synced, waits) = oneshot::channel();
        let mut state = serde_json::to_vec(record).unwrap_or_default();
        state.push(b'\n');
        let ledger = record.ledger.map(line_bytes).unwrap_or_default();
        // If the writer is gone the sender is dropped with the message, and the wait fails.
        let _ = self.queue.send(Command::Append { seq, state, ledger, synced });
        waits
    }

    /// Waits until everything up to `seq` is synced: an answer must not show what a crash could undo.
    pub(crate) async fn wait(&self, seq: u64) -> Result<(), oneshot::error::RecvError> {
        if self.synced.load(Ordering::Acquire) >= seq {
            return Ok(());
        }
        let (synced, waits) = oneshot::channel();
        let _ = self.queue.send(Command::Barrier(synced));
        waits.await
    }

    /// Ends the writer after what it was given.
    pub(crate) fn stop(&self) {
        let _ = self.queue.send(Command::Stop);
    }
}

impl Writer {
    fn run(mut self, incoming: &Receiver<Command>) {
        while let Ok(first) = incoming.recv() {
            let mut batch = Batch::default();
            batch.add(first);
            while batch.waiting.len() < BATCH_MAX && !batch.stop {
                let Ok(next) = incoming.try_recv() else { break };
                batch.add(next);
            }
            if let Err(error) = self.write(&batch) {
                // Whoever waits learns it from the dropped senders, and is not answered.
                tracing::error!(%error, "the ledger can not be written; the simulator stops");
                self.lost.cancel();
                return;
            }
            self.synced.fetch_max(batch.seq, Ordering::AcqRel);
            for waiting in batch.waiting {
                let _ = waiting.send(());
            }
            if batch.stop {
                return;
            }
        }
    }

    fn write(&mut self, batch: &Batch) -> std::io::Result<()> {
        if !batch.state.is_empty() {
            self.state.write_all(&batch.state)?;
            self.state.sync_data()?;
        }
        if !batch.ledger.is_empty() {
            self.ledger.write_all(&batch.ledger)?;
            self.ledger.sync_data()?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Batch {
    seq: u64,
    state: Vec<u8>,
    ledger: Vec<u8>,
    waiting: Vec<oneshot::Sender<()>>,
    stop: bool,
}

impl Batch {
    fn add(&mut self, write: Command) {
        match write {
            Command::Append { seq, state, ledger, synced } => {
                self.seq = seq;
                self.state.extend_from_slice(&state);
                self.ledger.extend_from_slice(&ledger);
                self.waiting.push(synced);
            }
            Command::Barrier(synced) => self.waiting.push(synced),
            Command::Stop => self.stop = true,
        }
    }
}
