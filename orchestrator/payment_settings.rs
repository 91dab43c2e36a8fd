//! The payment gateway's settings, from the environment.

use activities::payment_gateway::settings::{Settings, SettingsErrors};
use engine::checkup::Finding;

/// What they are of.
const OF: &str = "payment gateway";

/// From `PAYMENT_GATEWAY_URL`, `PAYMENT_GATEWAY_KEY`, `PAYMENT_WEBHOOK_SECRET`,
/// `PAYMENT_GATEWAY_RATE` and `PAYMENT_RETURN_URL`.
pub(crate) fn read() -> Result<Settings, SettingsErrors> {
    let value = |name| std::env::var(name).ok();
    Settings::from_values(
        value("PAYMENT_GATEWAY_URL").as_deref(),
        value("PAYMENT_GATEWAY_KEY").as_deref(),
        value("PAYMENT_WEBHOOK_SECRET").as_deref(),
        value("PAYMENT_GATEWAY_RATE").as_deref(),
        value("PAYMENT_RETURN_URL").as_deref(),
    )
}

/// What is to be said of them.
pub(crate) fn examine() -> Vec<Finding> {
    match read() {
        Ok(settings) => {
            let found = format!("is {}, with a key and a webhook secret", settings.url);
            vec![Finding::ok(OF, "settings", found)]
        }
        Err(SettingsErrors(errors)) => {
            let refused = |error: &_| {
                Finding::refused(OF, "settings", format!("can not be used: {error}"), None)
            };
            errors.iter().map(refused).collect()
        }
    }
}
