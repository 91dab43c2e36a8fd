//! Whether the platform is ready: each of its databases answers. The payment gateway is none of it:
//! while that is down orders are taken and wait.

use std::future::Future;
use std::time::Duration;

use activities::{Inventory, OrderId, Orders};
use engine::Operator;
use futures_util::future::join3;
use gateway::health::{Check, Health};
use metrics_exporter_prometheus::PrometheusHandle;
use uuid::Uuid;

/// How long a database may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What the doors say about the platform.
pub(super) fn health(
    operator: Operator,
    inventory: Inventory,
    orders: Orders,
    metrics: PrometheusHandle,
) -> Health {
    let ready = move || -> futures_util::future::BoxFuture<'static, Vec<Check>> {
        let (operator, inventory, orders) = (operator.clone(), inventory.clone(), orders.clone());
        Box::pin(async move {
            let nobody = OrderId(Uuid::nil());
            let (engine, stock, order) = join3(
                Box::pin(check("amends database", operator.nodes())),
                Box::pin(check("inventory database", inventory.availability("-"))),
                Box::pin(check("order database", orders.find(nobody, None))),
            )
            .await;
            vec![engine, stock, order]
        })
    };
    Health::new(ready, move || metrics.render())
}

async fn check<T, E: std::fmt::Display>(
    name: &'static str,
    question: impl Future<Output = Result<T, E>>,
) -> Check {
    let detail = match tokio::time::timeout(ANSWER_WITHIN, question).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => {
            tracing::warn!(name, %error, "not ready");
            Some("it does not answer as it should")
        }
        Err(_) => Some("it does not answer in time"),
    };
    Check { name, ok: detail.is_none(), detail: detail.map(str::to_owned) }
}
