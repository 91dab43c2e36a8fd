//! A payment intent, and its charge, as Stripe's JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::intent::{CaptureMethod, Intent, Status};

#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    object: &'static str,
    amount: i64,
    amount_capturable: i64,
    amount_received: i64,
    canceled_at: Option<i64>,
    cancellation_reason: Option<&'a str>,
    capture_method: CaptureMethod,
    client_secret: &'a str,
    confirmation_method: &'static str,
    created: i64,
    currency: &'a str,
    customer: Option<&'a str>,
    description: Option<&'a str>,
    last_payment_error: Option<LastError<'a>>,
    latest_charge: Latest<'a>,
    livemode: bool,
    metadata: &'a BTreeMap<String, String>,
    next_action: Option<NextAction<'a>>,
    payment_method: Option<&'a str>,
    payment_method_types: &'a [String],
    review: Option<()>,
    status: Status,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Latest<'a> {
    Id(Option<&'a str>),
    Expanded(Charge<'a>),
}

#[derive(Serialize)]
struct LastError<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    decline_code: Option<&'a str>,
    message: &'static str,
    charge: Option<&'a str>,
    payment_method: PaymentMethod<'a>,
}

#[derive(Serialize)]
struct PaymentMethod<'a> {
    id: Option<&'a str>,
    object: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Serialize)]
struct NextAction<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect_to_url: Option<Redirect<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    use_stripe_sdk: Option<Sdk>,
}

#[derive(Serialize)]
struct Redirect<'a> {
    return_url: &'a str,
    url: String,
}

/// For Stripe's own script in the customer's browser; Stripe says nothing of what else is in it.
#[derive(Serialize)]
struct Sdk {
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Serialize)]
struct Charge<'a> {
    id: &'a str,
    object: &'static str,
    amount: i64,
    amount_captured: i64,
    amount_refunded: i64,
    captured: bool,
    created: i64,
    currency: &'a str,
    failure_code: Option<&'a str>,
    livemode: bool,
    metadata: &'a BTreeMap<String, String>,
    paid: bool,
    payment_intent: &'a str,
    payment_method: Option<&'a str>,
    refunded: bool,
    status: &'static str,
}

/// The intent's body; `base_url` is where a challenge is answered, `expand` shows the charge.
pub(crate) fn text(intent: &Intent, base_url: &str, expand: bool) -> String {
    let latest_charge = match charge(intent) {
        Some(charge) if expand => Latest::Expanded(charge),
        _ => Latest::Id(intent.charge.as_deref()),
    };
    let body = Body {
        id: &intent.id,
        object: "payment_intent",
        amount: intent.amount,
        amount_capturable: intent.amount_capturable,
        amount_received: intent.amount_received,
        canceled_at: intent.canceled_at,
        cancellation_reason: intent.cancellation_reason.as_deref(),
        capture_method: intent.capture_method,
        client_secret: &intent.client_secret,
        confirmation_method: "automatic",
        created: intent.created,
        currency: &intent.currency,
        customer: intent.customer.as_deref(),
        description: intent.description.as_deref(),
        last_payment_error: last_error(intent),
        latest_charge,
        livemode: false,
        metadata: &intent.metadata,
        next_action: next_action(intent, base_url),
        payment_method: shown_method(intent),
        payment_method_types: &intent.payment_method_types,
        review: None,
        status: intent.status,
    };
    serde_json::to_string(&body).unwrap_or_default()
}

/// Only who says where the customer is to come back to is told where to send them.
fn next_action<'a>(intent: &'a Intent, base_url: &str) -> Option<NextAction<'a>> {
    if intent.status != Status::RequiresAction {
        return None;
    }
    let url = format!("{base_url}/_sim/payment_intents/{}/authenticate", intent.id);
    Some(match intent.return_url.as_deref() {
        Some(return_url) => NextAction {
            kind: "redirect_to_url",
            redirect_to_url: Some(Redirect { return_url, url }),
            use_stripe_sdk: None,
        },
        None => NextAction {
            kind: "use_stripe_sdk",
            redirect_to_url: None,
            use_stripe_sdk: Some(Sdk { kind: "three_d_secure_redirect" }),
        },
    })
}

/// The latest charge's body, if there was a charge.
pub(crate) fn charge_text(intent: &Intent) -> Option<String> {
    serde_json::to_string(&charge(intent)?).ok()
}

/// After a decline the method is detached: Stripe shows it in `last_payment_error` only.
fn shown_method(intent: &Intent) -> Option<&str> {
    let detached = intent.status == Status::RequiresPaymentMethod;
    intent.payment_method.as_deref().filter(|_| !detached)
}

fn last_error(intent: &Intent) -> Option<LastError<'_>> {
    let decline = intent.last_decline.as_ref()?;
    Some(LastError {
        kind: "card_error",
        code: &decline.code,
        decline_code: decline.decline_code.as_deref(),
        message: decline.message(),
        charge: intent.charge.as_deref(),
        payment_method: PaymentMethod {
            id: intent.payment_method.as_deref(),
            object: "payment_method",
            kind: "card",
        },
    })
}

fn charge(intent: &Intent) -> Option<Charge<'_>> {
    let paid = intent.amount_received > 0 || intent.amount_capturable > 0;
    Some(Charge {
        id: intent.charge.as_deref()?,
        object: "charge",
        amount: intent.amount,
        amount_captured: intent.amount_received,
        amount_refunded: intent.amount_refunded,
        captured: intent.amount_received > 0,
        created: intent.created,
        currency: &intent.currency,
        failure_code: intent.last_decline.as_ref().map(|decline| decline.code.as_str()),
        livemode: false,
        metadata: &intent.metadata,
        paid,
        payment_intent: &intent.id,
        payment_method: intent.payment_method.as_deref(),
        refunded: paid && intent.amount_refunded == intent.amount_received,
        status: if intent.last_decline.is_some() { "failed" } else { "succeeded" },
    })
}
