//! Looks at the engine's own tables: shards, nodes, partitions.

use crate::checkup::Finding;
use crate::clock;
use crate::error::StoreError;
use crate::schema::SAGA;
use crate::store::Store;

use super::NodeView;

/// Partitions are made four weeks ahead: with fewer than this something has been wrong for long.
const WEEKS_MIN: usize = 2;

/// What a database without shards is, and what to do about it.
pub(crate) fn no_shards() -> Finding {
    let advice = Some("run `amends migrate`".to_owned());
    Finding::refused(SAGA.database, "shards", "has no shards", advice)
}

/// What is to be said of them. The schema must be up to date.
pub(super) async fn examine(store: &Store) -> Result<Vec<Finding>, StoreError> {
    let shards = match store.shard_count().await? {
        None | Some(0) => return Ok(vec![no_shards()]),
        Some(shards) => shards,
    };
    let (nodes, open) = (store.nodes().await?, store.open_count().await?);
    let weeks = store.weeks_ahead(clock::now()).await?;
    let counted = Finding::ok(SAGA.database, "shards", format!("has {shards} shards"));
    Ok(vec![counted, owners(&nodes, shards, open), partitions(weeks)])
}

fn owners(nodes: &[NodeView], shards: u16, open: u64) -> Finding {
    let alive: Vec<&NodeView> = nodes.iter().filter(|node| node.alive).collect();
    let names: Vec<&str> = alive.iter().map(|node| node.name.as_str()).collect();
    let owned: usize = alive.iter().map(|node| node.shards.len()).sum();
    if alive.is_empty() {
        let found = format!("has {open} open sagas and no node that is alive");
        return match open {
            0 => Finding::ok(SAGA.database, "nodes", found),
            _ => Finding::warning(SAGA.database, "nodes", found, "start `amends serve`"),
        };
    }
    let found = format!(
        "has {} nodes that are alive ({}), with {owned} of {shards} shards",
        names.len(),
        names.join(", ")
    );
    match owned < usize::from(shards) {
        false => Finding::ok(SAGA.database, "nodes", found),
        true => {
            let advice =
                "look again when a lease has ended: by then the others should have the rest";
            Finding::warning(SAGA.database, "nodes", found, advice)
        }
    }
}

fn partitions(weeks: usize) -> Finding {
    let found = format!("has partitions for {weeks} weeks from now");
    match weeks < WEEKS_MIN {
        false => Finding::ok(SAGA.database, "partitions", found),
        true => {
            let advice = "a node makes four weeks at its start and every hour: look at its log";
            Finding::warning(SAGA.database, "partitions", found, advice)
        }
    }
}
