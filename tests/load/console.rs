//! What a console asks for while it is open: the lists that an operator looks at, and the newest page of the
//! history, refreshed every other second, and a saga of it.

use std::time::Duration;

use engine::Operator;
use engine::operator::Filter;
use tokio::task::JoinHandle;

/// How often a page is loaded anew.
const REFRESH: Duration = Duration::from_secs(2);
/// How many lines a page has.
const LINES: u32 = 50;

/// Opens one; it is closed when the task is aborted.
pub(crate) fn open(operator: Operator) -> JoinHandle<anyhow::Result<()>> {
    tokio::spawn(async move {
        loop {
            for filter in pages() {
                let page = operator.list(&filter, None, LINES).await?;
                if let Some(line) = page.sagas.first() {
                    operator.view(line.summary.id).await?;
                }
                if let (Some(next), true) = (page.next, filter == Filter::default()) {
                    operator.list(&filter, Some(next), LINES).await?;
                }
            }
            operator.nodes().await?;
            operator.open_count().await?;
            tokio::time::sleep(REFRESH).await;
        }
    })
}

/// Everything, what is open, what is stuck, what needs somebody, and how sagas ended.
fn pages() -> [Filter; 5] {
    let all = Filter::default;
    [
        all(),
        Filter { open: Some(true), ..all() },
        Filter { stuck: Some(true), ..all() },
        Filter { attention: Some(true), ..all() },
        Filter { open: Some(false), ..all() },
    ]
}
