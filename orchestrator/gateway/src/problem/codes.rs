//! The one table of what can go wrong at the doors. The pages at `/problems/{code}` are made from it.

/// Declares kinds of problems and the table of them. Whoever declares some gives the table to the
/// router, which serves their pages.
///
/// ```
/// gateway::codes! {
///     /// What can go wrong in a tea shop.
///     pub static ALL;
///     TEAPOT = 418 "teapot", gateway::problem::Retry::NO,
///         "This is a teapot",
///         "Coffee was asked of a teapot (RFC 2324).",
///         "Ask for tea.";
/// }
/// # fn main() { assert_eq!(ALL[0].name, "teapot"); }
/// ```
#[macro_export]
macro_rules! codes {
    (
        $(#[$about:meta])*
        $vis:vis static $all:ident;
        $($code:ident = $status:literal $name:literal, $retry:expr,
            $title:literal, $explanation:literal, $action:literal;)*
    ) => {
        $(
            #[doc = $title]
            $vis static $code: $crate::problem::Code = $crate::problem::Code {
                name: $name,
                status: $status,
                title: $title,
                explanation: $explanation,
                action: $action,
                retry: $retry,
            };
        )*
        $(#[$about])*
        $vis static $all: &[&$crate::problem::Code] = &[$(&$code),*];
    };
}

use crate::problem::Retry;

codes! {
    /// What can go wrong at any door.
    pub static ALL;

    // The request itself.
    INVALID_JSON = 400 "invalid_json", Retry::SAME_KEY,
        "The body is not JSON",
        "The body could not be read as one JSON value (RFC 8259), or names a member twice. Nothing was started.",
        "Send one JSON object. The detail names line and column.";
    INVALID_REQUEST = 422 "invalid_request", Retry::SAME_KEY,
        "Some fields need fixing",
        "The request was read, but fields are missing, unknown, of the wrong type or out of range. `errors` lists all of them. Nothing was started.",
        "Correct every field that `errors` points at and send it again; the same Idempotency-Key may be used.";
    INVALID_QUERY = 400 "invalid_query", Retry::SAME_KEY,
        "A query parameter needs fixing",
        "A parameter in the URL is unknown, given twice, or has a value it can not have. `errors` lists all of them.",
        "Correct the parameters that `errors` points at.";
    INVALID_HEADER = 400 "invalid_header", Retry::SAME_KEY,
        "A header needs fixing",
        "A request header has a value it can not have. The detail names it.",
        "Correct the header that the detail names.";
    CARD_NUMBER_REFUSED = 400 "card_number_refused", Retry::NEW_KEY,
        "Card numbers are not accepted here",
        "Something in the body looks like a card number. It was neither stored nor logged. Nothing was started.",
        "Send the payment method's token (`pm_..`) that the payment gateway gave you, never the card's number.";
    BODY_TOO_LARGE = 413 "body_too_large", Retry::SAME_KEY,
        "The body is too large",
        "The body has more bytes than this route takes. Nothing was started.",
        "Send less; a checkout takes at most 64 KiB and 100 lines.";
    HEADERS_TOO_LARGE = 431 "headers_too_large", Retry::SAME_KEY,
        "The headers are too large",
        "Path and headers together have more than 16 KiB.",
        "Send less: look for cookies or tokens that grew.";
    UNSUPPORTED_MEDIA_TYPE = 415 "unsupported_media_type", Retry::SAME_KEY,
        "The body must be JSON",
        "The Content-Type is not application/json. Nothing was started.",
        "Send `Content-Type: application/json`.";
    ROUTE_NOT_FOUND = 404 "route_not_found", Retry::NO,
        "There is nothing at this path",
        "No route of this server has this path.",
        "Check the path; the README lists the routes.";
    METHOD_NOT_ALLOWED = 405 "method_not_allowed", Retry::NO,
        "This path does not take this method",
        "The path exists, but not with this method. `Allow` lists those it takes.",
        "Use one of the methods in `Allow`.";
    BAD_REQUEST = 400 "bad_request", Retry::NO,
        "The request can not be read",
        "The request is not HTTP as this server reads it.",
        "Check what sends the request.";

    // Idempotency.
    IDEMPOTENCY_KEY_MISSING = 400 "idempotency_key_missing", Retry::NEW_KEY,
        "The Idempotency-Key header is missing",
        "This request starts something, so it needs a key that makes it safe to send twice. Nothing was started.",
        "Send a new UUID for every new request and repeat the same one when you send that request again: `Idempotency-Key: \"5b0c8f3e-6d0e-4d7e-9c55-0a1b2c3d4e5f\"`.";
    IDEMPOTENCY_KEY_INVALID = 400 "idempotency_key_invalid", Retry::NEW_KEY,
        "The Idempotency-Key can not be used",
        "The key must be 1 to 255 visible ASCII characters, quoted or bare, and be sent once. Nothing was started.",
        "Send a UUID.";
    IDEMPOTENCY_KEY_REUSED = 422 "idempotency_key_reused", Retry::NEW_KEY,
        "This key was used for a different request",
        "You used this Idempotency-Key before, with another body. Nothing was started; `existing` is what the first request made.",
        "Use a new key for a new request. If you meant to repeat the first one, send the same body.";
    KEY_EXPIRED = 409 "key_expired", Retry::NEW_KEY,
        "This key was used too long ago",
        "You used this Idempotency-Key for the same request before, and what came of it is not kept any more. Nothing was started.",
        "Look up the customer's orders: the first request may have made one. Use a new key for a new request.";

    // Who may.
    UNAUTHENTICATED = 401 "unauthenticated", Retry::SAME_KEY,
        "Who are you?",
        "The request has no API key, or one that is unknown or revoked.",
        "Send `Authorization: Bearer amk_..`; `amends keys create` makes a key.";
    FORBIDDEN = 403 "forbidden", Retry::NO,
        "Your key may not do this",
        "The API key is good, but its role does not include this route.",
        "Use a key with one of the roles that the detail names.";
    CUSTOMER_MISSING = 400 "customer_missing", Retry::SAME_KEY,
        "For which customer?",
        "A key of the role `shop` acts for a customer, and the request names none. Nothing was started.",
        "Send `Amends-Customer: <your customer's id>`, 1 to 200 visible ASCII characters.";

    // Later.
    BUSY = 503 "busy", Retry::after(1_000),
        "Too much is under way",
        "The server took nothing of this request: nothing was started.",
        "Send the same request with the same key after the time in `Retry-After`.";
    UNAVAILABLE = 503 "unavailable", Retry::after(1_000),
        "A part of the platform does not answer",
        "A database behind this route does not answer just now. What you asked for may have been taken or not.",
        "Send the same request with the same key: it is done once. An operator's action has no key: look at its saga first.";
    TIMED_OUT = 504 "timed_out", Retry::after(1_000),
        "The answer took too long",
        "The request was given up. What you asked for may have been taken or not.",
        "Send the same request with the same key: it is done once. An operator's action has no key: look at its saga first.";
    INTERNAL = 500 "internal", Retry::after(1_000),
        "Something is broken here",
        "The server made a mistake, and it is in its log under this request id.",
        "Send the same request with the same key; if it fails again, tell the operators the request id.";

    // Operators.
    SAGA_NOT_FOUND = 404 "saga_not_found", Retry::NO,
        "There is no such saga",
        "No saga has this id.",
        "`amends list` shows the ids.";
    STALE = 412 "stale", Retry::NEW_KEY,
        "The saga moved on",
        "The saga changed after you looked at it, so what you saw is not what your action would meet. Nothing was done.",
        "Look again, then act with its new rev in `If-Match`.";
    ACTION_REFUSED = 409 "action_refused", Retry::NO,
        "The saga refused",
        "The saga is not in a state in which this action means something. The attempt is in the audit log.",
        "Look at the saga: its sentence says what it is doing.";
    ALREADY_ENDED = 409 "already_ended", Retry::NO,
        "The saga has ended",
        "Nothing can be done to a saga that is over.",
        "Look at its history.";
    ALREADY_TURNING_BACK = 409 "already_turning_back", Retry::NO,
        "It is being undone already",
        "What was done is already being undone, or was.",
        "Wait until it has ended.";
    TOO_LATE_TO_CANCEL = 409 "too_late_to_cancel", Retry::NO,
        "It can no longer be cancelled",
        "The point of no return has passed: the order is paid, and what remains is to confirm it.",
        "Wait until it is completed, then ask the shop to cancel the order.";
    ALREADY_PAUSED = 409 "already_paused", Retry::NO,
        "It is paused already",
        "An operator paused this saga before.",
        "`amends resume` lets it go on.";
    NOT_PAUSED = 409 "not_paused", Retry::NO,
        "It is not paused",
        "Only a paused saga can be resumed.",
        "`amends why` says what it waits for.";
    NO_SUCH_STEP = 409 "no_such_step", Retry::NO,
        "It has no such step",
        "The saga has not come to a step of this number.",
        "`amends get` lists its steps.";
    NOT_AN_ACTIVITY = 409 "not_an_activity", Retry::NO,
        "This step can not be resolved",
        "A sleep or a wait is over by itself; only the use of an activity can be resolved by hand.",
        "`amends get` lists the steps.";
    STEP_IS_NOT_OPEN = 409 "step_is_not_open", Retry::NO,
        "This step has its outcome",
        "Only a step whose outcome is not known can be said to have happened or not.",
        "`amends get` shows what became of each step.";
    STEP_IS_NOT_BEING_UNDONE = 409 "step_is_not_being_undone", Retry::NO,
        "This step is not being undone",
        "Only a step that is being undone can be said to be compensated.",
        "`amends get` shows what became of each step.";
    OUTPUT_MISFIT = 409 "output_misfit", Retry::NO,
        "The output does not fit",
        "The step's activity gives something of another shape.",
        "`amends get` shows what other steps of the activity gave; send the same shape.";
    PAYLOAD_TOO_LARGE = 409 "payload_too_large", Retry::NO,
        "The output is too large",
        "A step's output may have 256 KiB.",
        "Send less.";
    TOO_MANY_SIGNALS = 409 "too_many_signals", Retry::NO,
        "Too many signals wait already",
        "A saga keeps at most 100 signals that its workflow has not asked for.",
        "Wait until it took some.";
}

/// The code of this name, if the doors have one.
pub fn find(name: &str) -> Option<&'static crate::problem::Code> {
    ALL.iter().find(|code| code.name == name).copied()
}
