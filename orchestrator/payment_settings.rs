//! The payment gateway's settings, from the environment.

use activities::payment_gateway::settings::{Settings, SettingsError};

/// From `PAYMENT_GATEWAY_URL`, `PAYMENT_GATEWAY_KEY`, `PAYMENT_WEBHOOK_SECRET` and
/// `PAYMENT_GATEWAY_RATE`.
pub(crate) fn read() -> Result<Settings, SettingsError> {
    let value = |name| std::env::var(name).ok();
    Settings::from_values(
        value("PAYMENT_GATEWAY_URL").as_deref(),
        value("PAYMENT_GATEWAY_KEY").as_deref(),
        value("PAYMENT_WEBHOOK_SECRET").as_deref(),
        value("PAYMENT_GATEWAY_RATE").as_deref(),
    )
}
