//! Which call a method and path mean.

use axum::http::Method;

use crate::fault_plan::Operation;

/// The calls of Stripe's API that the simulator knows, with the id from the path.
#[derive(Debug, PartialEq)]
pub(crate) enum Route<'a> {
    CreateIntent,
    Confirm(&'a str),
    Capture(&'a str),
    Cancel(&'a str),
    CreateRefund,
    GetIntent(&'a str),
    ListIntents,
    GetRefund(&'a str),
    ListRefunds,
    GetEvent(&'a str),
    ListEvents,
}

impl Route<'_> {
    pub(crate) fn find<'a>(method: &Method, path: &'a str) -> Option<Route<'a>> {
        let mut parts = path.strip_prefix("/v1/")?.split('/');
        let parts = (parts.next()?, parts.next(), parts.next(), parts.next());
        Some(match (method.as_str(), parts) {
            ("POST", ("payment_intents", None, None, None)) => Route::CreateIntent,
            ("POST", ("payment_intents", Some(id), Some("confirm"), None)) => Route::Confirm(id),
            ("POST", ("payment_intents", Some(id), Some("capture"), None)) => Route::Capture(id),
            ("POST", ("payment_intents", Some(id), Some("cancel"), None)) => Route::Cancel(id),
            ("POST", ("refunds", None, None, None)) => Route::CreateRefund,
            ("GET", ("payment_intents", None, None, None)) => Route::ListIntents,
            ("GET", ("payment_intents", Some(id), None, None)) => Route::GetIntent(id),
            ("GET", ("refunds", None, None, None)) => Route::ListRefunds,
            ("GET", ("refunds", Some(id), None, None)) => Route::GetRefund(id),
            ("GET", ("events", None, None, None)) => Route::ListEvents,
            ("GET", ("events", Some(id), None, None)) => Route::GetEvent(id),
            _ => return None,
        })
    }

    pub(crate) fn operation(&self) -> Operation {
        match self {
            Route::CreateIntent => Operation::Create,
            Route::Confirm(_) => Operation::Confirm,
            Route::Capture(_) => Operation::Capture,
            Route::Cancel(_) => Operation::Cancel,
            Route::CreateRefund => Operation::Refund,
            _ => Operation::Get,
        }
    }
}
