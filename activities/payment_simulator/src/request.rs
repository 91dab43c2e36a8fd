//! Stripe's write calls, read from their forms and checked before anything is touched.

use std::collections::BTreeMap;

use crate::error::StripeError;
use crate::form::Form;
use crate::intent::CaptureMethod;
use crate::methods::Method;
use crate::refund::RefundRequest;
use crate::route::Route;

/// Stripe's largest amount: eight digits.
const AMOUNT_MAX: i64 = 99_999_999;

#[derive(Debug)]
pub(crate) enum Request {
    Create(CreateRequest),
    Confirm(String, ConfirmRequest),
    Capture(String, Option<i64>),
    Cancel(String, Option<String>),
    Refund(RefundRequest),
}

#[derive(Debug)]
pub(crate) struct CreateRequest {
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) capture_method: CaptureMethod,
    pub(crate) payment_method_types: Vec<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) description: Option<String>,
    pub(crate) customer: Option<String>,
    /// Attached, and charged only with `confirm`.
    pub(crate) details: ConfirmRequest,
    pub(crate) confirm: bool,
}

#[derive(Debug)]
pub(crate) struct ConfirmRequest {
    pub(crate) payment_method: Option<Method>,
    pub(crate) return_url: Option<String>,
    pub(crate) error_on_requires_action: bool,
}

impl Request {
    /// `None` for the routes that only read.
    pub(crate) fn parse(route: &Route<'_>, form: &Form) -> Result<Option<Request>, StripeError> {
        Ok(Some(match route {
            Route::CreateIntent => Request::Create(create(form)?),
            Route::Confirm(id) => Request::Confirm((*id).to_owned(), confirm(form)?),
            Route::Capture(id) => {
                form.only(&["amount_to_capture", "final_capture", "metadata", "expand"])?;
                Request::Capture((*id).to_owned(), form.integer("amount_to_capture")?)
            }
            Route::Cancel(id) => {
                form.only(&["cancellation_reason", "expand"])?;
                let reasons = ["duplicate", "fraudulent", "requested_by_customer", "abandoned"];
                let reason = one_of(form, "cancellation_reason", &reasons)?;
                Request::Cancel((*id).to_owned(), reason)
            }
            Route::CreateRefund => Request::Refund(refund(form)?),
            _ => return Ok(None),
        }))
    }
}

fn create(form: &Form) -> Result<CreateRequest, StripeError> {
    form.only(&[
        "amount",
        "currency",
        "capture_method",
        "payment_method_types",
        "metadata",
        "description",
        "customer",
        "confirm",
        "payment_method",
        "return_url",
        "error_on_requires_action",
        "off_session",
        "setup_future_usage",
        "statement_descriptor",
        "statement_descriptor_suffix",
        "receipt_email",
        "confirmation_method",
        "expand",
    ])?;
    form.required("amount")?;
    let amount = form.integer("amount")?.unwrap_or_default();
    let currency = form.required("currency")?.to_ascii_lowercase();
    if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_lowercase()) {
        let message = format!("Invalid currency: {currency}.");
        return Err(StripeError::invalid("parameter_invalid_string", "currency", message));
    }
    check_amount(amount, &currency)?;
    let captures = ["automatic", "automatic_async", "manual"];
    let capture_method = match one_of(form, "capture_method", &captures)?.as_deref() {
        Some("manual") => CaptureMethod::Manual,
        _ => CaptureMethod::Automatic,
    };
    let types = form.list("payment_method_types");
    if let Some(other) = types.iter().find(|kind| *kind != "card") {
        let message = format!("The payment method type \"{other}\" is invalid.");
        return Err(StripeError::invalid("parameter_invalid", "payment_method_types", message));
    }
    let confirm = form.boolean("confirm")?;
    let details = details(form)?;
    if confirm && details.payment_method.is_none() {
        let message = "You must provide a payment method to confirm the PaymentIntent.";
        return Err(StripeError::invalid("parameter_missing", "payment_method", message));
    }
    Ok(CreateRequest {
        amount,
        currency,
        capture_method,
        payment_method_types: vec!["card".to_owned()],
        metadata: metadata(form)?,
        description: form.text("description").map(str::to_owned),
        customer: form.text("customer").map(str::to_owned),
        details,
        confirm,
    })
}

fn confirm(form: &Form) -> Result<ConfirmRequest, StripeError> {
    form.only(&[
        "payment_method",
        "return_url",
        "error_on_requires_action",
        "off_session",
        "payment_method_types",
        "setup_future_usage",
        "receipt_email",
        "expand",
    ])?;
    details(form)
}

fn details(form: &Form) -> Result<ConfirmRequest, StripeError> {
    Ok(ConfirmRequest {
        payment_method: form.text("payment_method").map(Method::find).transpose()?,
        return_url: form.text("return_url").map(str::to_owned),
        error_on_requires_action: form.boolean("error_on_requires_action")?,
    })
}

fn refund(form: &Form) -> Result<RefundRequest, StripeError> {
    form.only(&["payment_intent", "amount", "reason", "metadata", "expand"])?;
    let reasons = ["duplicate", "fraudulent", "requested_by_customer"];
    Ok(RefundRequest {
        intent: form.required("payment_intent")?.to_owned(),
        amount: form.integer("amount")?,
        reason: one_of(form, "reason", &reasons)?,
        metadata: metadata(form)?,
    })
}

fn one_of(form: &Form, name: &str, allowed: &[&str]) -> Result<Option<String>, StripeError> {
    match form.text(name) {
        Some(text) if !allowed.contains(&text) => {
            let message = format!("Invalid {name}: must be one of {}", allowed.join(", "));
            Err(StripeError::invalid("parameter_invalid", name, message))
        }
        text => Ok(text.map(str::to_owned)),
    }
}

fn metadata(form: &Form) -> Result<BTreeMap<String, String>, StripeError> {
    let metadata = form.map("metadata");
    let too_long =
        |(key, value): (&String, &String)| key.chars().count() > 40 || value.chars().count() > 500;
    if metadata.len() > 50 || metadata.iter().any(too_long) {
        let message = "Metadata can have up to 50 keys, with key names up to 40 characters long and values up to 500 characters long.";
        return Err(StripeError::invalid("parameter_invalid", "metadata", message));
    }
    Ok(metadata)
}

fn check_amount(amount: i64, currency: &str) -> Result<(), StripeError> {
    if amount < 1 {
        let message = "This value must be greater than or equal to 1.";
        return Err(StripeError::invalid("parameter_invalid_integer", "amount", message));
    }
    let least = amount_min(currency);
    if amount < least {
        let message =
            format!("Amount must be at least {least} {currency} in the currency's smallest unit.");
        return Err(StripeError::invalid("amount_too_small", "amount", message));
    }
    if amount > AMOUNT_MAX {
        let message = format!("Amount must be no more than {AMOUNT_MAX}.");
        return Err(StripeError::invalid("amount_too_large", "amount", message));
    }
    Ok(())
}

/// Stripe's minimum charge amounts, in minor units (docs.stripe.com/currencies).
fn amount_min(currency: &str) -> i64 {
    match currency {
        "usd" | "aud" | "brl" | "cad" | "chf" | "eur" | "inr" | "jpy" | "nzd" | "sgd" => 50,
        "gbp" => 30,
        "bgn" => 100,
        "aed" | "myr" | "pln" | "ron" => 200,
        "dkk" => 250,
        "nok" | "sek" => 300,
        "hkd" => 400,
        "mxn" | "thb" => 1_000,
        "czk" => 1_500,
        "huf" => 17_500,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(route: &Route<'_>, body: &str) -> Option<String> {
        let form = Form::parse(body.as_bytes()).unwrap();
        Request::parse(route, &form).err().and_then(|error| error.fields.code)
    }

    #[test]
    fn a_bad_parameter_is_named() {
        for (body, expected) in [
            ("currency=usd", "parameter_missing"),
            ("amount=500", "parameter_missing"),
            ("amount=5.0&currency=usd", "parameter_invalid_integer"),
            ("amount=-5&currency=usd", "parameter_invalid_integer"),
            ("amount=49&currency=usd", "amount_too_small"),
            ("amount=100000000&currency=usd", "amount_too_large"),
            ("amount=500&currency=dollars", "parameter_invalid_string"),
            ("amount=500&currency=usd&capture_method=never", "parameter_invalid"),
            ("amount=500&currency=usd&shoe=1", "parameter_unknown"),
            ("amount=500&currency=usd&payment_method=pm_x", "resource_missing"),
        ] {
            assert_eq!(code(&Route::CreateIntent, body).as_deref(), Some(expected), "{body}");
        }
        assert_eq!(code(&Route::CreateIntent, "amount=50&currency=USD"), None);
        assert_eq!(code(&Route::CreateRefund, "amount=5").as_deref(), Some("parameter_missing"));
    }
}
