//! Every state of a saga, in its customer's words.

use activities::{Currency, OrderId, PricedLine};
use engine::journal::{Because, Problem};
use engine::payload::Payload;
use engine::view::Summary;
use time::OffsetDateTime;
use uuid::Uuid;

use super::*;

const ORDER: Uuid = Uuid::from_u128(7);

/// A checkout of a second ago that no step was intended for yet.
pub(in crate::storefront) fn view(customer: &str) -> SagaView {
    let (sku, name) = ("1".to_owned(), "Tea".to_owned());
    let lines = vec![PricedLine { sku, name, quantity: 2, unit_price: 250 }];
    let input = Checkout {
        order_id: OrderId(ORDER),
        customer_id: customer.to_owned(),
        currency: Currency::Usd,
        lines,
        total: activities::Money::new(500, Currency::Usd),
        payment_method: "pm_card_visa".to_owned(),
    };
    let summary = Summary {
        id: SagaId::new(1, OffsetDateTime::UNIX_EPOCH),
        workflow: "place-order".to_owned(),
        business_key: Some(ORDER.to_string()),
        subject: Some(customer.to_owned()),
        direction: Direction::Forward,
        phase: Phase::Running,
        ending: None,
        step: 0,
        activity: None,
        attempt: 0,
        first_failed_at: None,
        next_at: Some(OffsetDateTime::UNIX_EPOCH),
        dependency: None,
        error: None,
        attention: None,
        rev: 1,
        created_at: OffsetDateTime::UNIX_EPOCH,
        changed_at: OffsetDateTime::UNIX_EPOCH,
    };
    SagaView {
        summary,
        input: Payload::encode(&input).unwrap(),
        result: None,
        because: None,
        why: None,
        past_pivot: false,
        effects: Vec::new(),
        steps: Vec::new(),
    }
}

fn charged() -> Value {
    json!({"outcome": "captured", "charge_id": "ch_1", "amount": {"value": 500, "currency": "USD"}})
}

fn asked() -> Value {
    json!({"outcome": "requires_action", "url": "https://bank.example/3ds"})
}

/// The checkout, when its customer has to answer the bank.
pub(in crate::storefront) fn asking(view: SagaView) -> SagaView {
    Case(view).charge(Done, Some(asked())).phase(Phase::Waiting).0
}

struct Case(SagaView);

impl Case {
    fn new() -> Self {
        Self(view("anna"))
    }

    fn step(mut self, name: &str, state: StepState, output: Option<Value>) -> Self {
        let kind = if name == PAYMENT_EVENT { StepKind::Signal } else { StepKind::Activity };
        self.0.steps.push(StepView {
            number: self.0.steps.len() as u32 + 1,
            name: name.to_owned(),
            kind,
            state,
            attempts: 1,
            intended_at: OffsetDateTime::UNIX_EPOCH,
            closed_at: None,
            input: None,
            output: output.map(|output| Payload::encode(&output).unwrap()),
            failures: Vec::new(),
        });
        self
    }

    /// Up to the payment, in this state.
    fn prepared(state: StepState) -> Self {
        let output = Some(json!({}));
        Self::new()
            .step("reserve-inventory", state, output.clone())
            .step("create-order", state, output.clone())
            .step("prepare-payment", state, output)
    }

    fn charge(self, state: StepState, output: Option<Value>) -> Self {
        self.step("charge-payment", state, output)
    }

    fn back(mut self, code: &str, details: Option<Value>) -> Self {
        let details = details.map(|details| Payload::encode(&details).unwrap());
        let because = Because {
            code: code.to_owned(),
            reason: "secret".to_owned(),
            step: None,
            details,
            by: None,
        };
        self.0.because = Some(because);
        self.0.summary.direction = Direction::Backward;
        self
    }

    fn ended(mut self, ending: Ending) -> Self {
        self.0.summary.ending = Some(ending);
        self.0.summary.phase = Phase::Ended;
        self
    }

    fn phase(mut self, phase: Phase) -> Self {
        self.0.summary.phase = phase;
        self
    }

    fn words(&self) -> (Value, Value) {
        let body = body(&self.0, None);
        (body["status"].clone(), body["money"].clone())
    }
}

use StepState::{Done, GivenUp, Rejected, Retrying, Running, Undoing, Undone, Waiting};

#[test]
fn the_way_to_an_order() {
    let cases = [
        (Case::new(), "processing", "not_charged"),
        (Case::new().step("reserve-inventory", Running, None), "processing", "not_charged"),
        (Case::prepared(Done), "processing", "not_charged"),
        (Case::prepared(Done).charge(Running, None), "processing", "checking"),
        (Case::prepared(Done).charge(Retrying, None), "processing", "checking"),
        (Case::prepared(Done).charge(Done, Some(charged())), "processing", "charged"),
        (
            Case::prepared(Done).charge(Done, Some(charged())).ended(Ending::Completed),
            "completed",
            "charged",
        ),
    ];
    for (i, (case, status, money)) in cases.into_iter().enumerate() {
        assert_eq!(case.words(), (json!(status), json!(money)), "case {i}");
    }
}

#[test]
fn a_customer_who_must_authenticate_is_told_where() {
    let asked = Case::prepared(Done).charge(Done, Some(asked())).step(PAYMENT_EVENT, Waiting, None);
    let asked = asked.phase(Phase::Waiting);
    let body = body(&asked.0, None);
    assert_eq!(body["status"], "action_required");
    assert_eq!(body["next_action"]["url"], "https://bank.example/3ds");
    // They may be confirming it this very moment.
    assert_eq!(body["money"], "checking");
    assert_eq!(body["progress"][2], json!({"step": "payment", "state": "waiting"}));
    assert_eq!(body["cancellable"], true);

    let mut confirmed = asked.step("charge-payment", Running, None).phase(Phase::Running);
    confirmed.0.steps[4].state = Done;
    assert_eq!(confirmed.words(), (json!("processing"), json!("checking")));
    assert_eq!(super::body(&confirmed.0, None)["next_action"], Value::Null);
    confirmed.0.steps[5].state = Done;
    confirmed.0.steps[5].output = Some(Payload::encode(&charged()).unwrap());
    assert_eq!(confirmed.words(), (json!("processing"), json!("charged")));
}

#[test]
fn a_declined_card_is_never_charged() {
    let details = json!({"decline_code": "insufficient_funds"});
    let declined =
        Case::prepared(Undoing).charge(Rejected, None).back("card_declined", Some(details));
    assert_eq!(declined.words(), (json!("processing"), json!("not_charged")));
    let declined = declined.ended(Ending::Undone);
    let body = body(&declined.0, None);
    assert_eq!((&body["status"], &body["money"]), (&json!("declined"), &json!("not_charged")));
    let message = "Your card was declined. You have not been charged. Please try another card.";
    let failure = json!({
        "code": "card_declined", "reason": "insufficient_funds", "do": "new_payment_method",
        "customer_message": message,
    });
    assert_eq!(body["failure"], failure);
    assert_eq!(body["customer_message"], message);
    assert_eq!((&body["poll_after_ms"], &body["cancellable"]), (&Value::Null, &json!(false)));
}

#[test]
fn out_of_stock_lists_the_skus() {
    let items = json!({"items": [{"sku": "77", "requested": 2, "available": 1}]});
    let short = Case::new()
        .step("reserve-inventory", Rejected, None)
        .back("out_of_stock", Some(items))
        .ended(Ending::Undone);
    let body = body(&short.0, None);
    assert_eq!((&body["status"], &body["money"]), (&json!("failed"), &json!("not_charged")));
    assert_eq!(body["failure"]["do"], "change_cart");
    assert_eq!(body["failure"]["items"], json!([{"sku": "77", "available": 1}]));
    assert_eq!(body["progress"], json!([{"step": "stock", "state": "failed"}]));
}

#[test]
fn a_cancelled_checkout_says_where_the_money_is() {
    let cancel = |case: Case| case.back("cancelled", None);
    let captured = |state| Case::prepared(Done).charge(state, Some(charged()));
    let unseen = |state| Case::prepared(Done).charge(state, None);
    let open = [
        (cancel(Case::prepared(Undoing)), "not_charged"),
        (cancel(unseen(Undoing)), "checking"),
        (cancel(unseen(Running)), "checking"),
        (cancel(captured(Undoing)), "refunding"),
        (cancel(captured(Done)), "refunding"),
        (cancel(captured(Undone)), "checking"),
    ];
    for (i, (case, money)) in open.into_iter().enumerate() {
        assert_eq!(case.words(), (json!("cancelling"), json!(money)), "case {i}");
        assert_eq!(body(&case.0, None)["cancellable"], false);
        assert_eq!(body(&case.0, None)["failure"], Value::Null);
    }
    let ended = cancel(Case::prepared(Undone)).ended(Ending::Cancelled);
    assert_eq!(ended.words(), (json!("cancelled"), json!("not_charged")));
}

#[test]
fn what_became_of_an_undone_charge_is_looked_up_in_the_books() {
    for output in [None, Some(charged())] {
        let undone = Case::prepared(Undone).charge(Undone, output).back("cancelled", None);
        let undone = undone.ended(Ending::Cancelled).0;
        assert!(needs_books(&undone));
        let money = |books| body(&undone, books)["money"].clone();
        assert_eq!(money(None), "checking");
        for books in [Money::NotCharged, Money::Refunding, Money::Refunded, Money::Charged] {
            assert_eq!(money(Some(books)), json!(books));
        }
    }
    let asked = Case::prepared(Undone).charge(Undone, Some(asked())).0;
    assert!(needs_books(&asked));
    for case in [
        Case::new(),
        Case::prepared(Undone),
        Case::prepared(Undone).charge(Rejected, None),
        Case::prepared(Undoing).charge(Undoing, Some(charged())),
        Case::prepared(Undone).charge(Undone, Some(self::asked())).charge(Rejected, None),
    ] {
        assert!(!needs_books(&case.0));
    }
}

#[test]
fn while_nobody_can_tell_the_money_is_being_checked() {
    for state in [Running, Waiting, Retrying, Done, StepState::TimedOut, GivenUp, Undoing] {
        let case = Case::prepared(Done).charge(state, None);
        assert_eq!(case.words().1, "checking", "{state:?}");
    }
    let asked_then_charging =
        Case::prepared(Done).charge(Done, Some(asked())).charge(Retrying, None);
    assert_eq!(asked_then_charging.words().1, "checking");
}

#[test]
fn books_are_read_the_same_way() {
    let payment = |status: &str, [captured, refunded, refunding]: [i64; 3]| {
        let money = |value| activities::Money::new(value, Currency::Usd);
        activities::order_store::OrderPayment {
            status: status.to_owned(),
            captured: money(captured),
            refunded: money(refunded),
            refunding: money(refunding),
        }
    };
    let cases = [
        ("created", [0, 0, 0], Money::NotCharged),
        ("declined", [0, 0, 0], Money::NotCharged),
        ("voided", [0, 0, 0], Money::NotCharged),
        ("requires_action", [0, 0, 0], Money::Checking),
        ("processing", [0, 0, 0], Money::Checking),
        ("authorized", [0, 0, 0], Money::Checking),
        ("unknown", [0, 0, 0], Money::Checking),
        ("captured", [500, 0, 0], Money::Charged),
        ("captured", [500, 100, 0], Money::Charged),
        ("captured", [500, 0, 500], Money::Refunding),
        ("captured", [500, 100, 400], Money::Refunding),
        ("captured", [500, 500, 0], Money::Refunded),
    ];
    for (status, amounts, money) in cases {
        assert_eq!(in_books(Some(&payment(status, amounts))), money, "{status} {amounts:?}");
    }
    assert_eq!(in_books(None), Money::NotCharged);
}

#[test]
fn every_failure_has_a_next_step_and_an_honest_message() {
    let cases = [
        ("card_declined", "declined", "card_declined", "new_payment_method"),
        ("invalid_payment_method", "declined", "invalid_payment_method", "new_payment_method"),
        ("authentication_timeout", "declined", "authentication_timeout", "try_again"),
        ("out_of_stock", "failed", "out_of_stock", "change_cart"),
        ("amount_too_small", "failed", "amount_too_small", "change_cart"),
        ("reservation_expired", "failed", "not_completed", "try_again"),
        ("retries_exhausted", "failed", "not_completed", "try_again"),
        ("gateway_refused_request", "failed", "internal", "contact_support"),
        ("anything_new", "failed", "internal", "contact_support"),
    ];
    for (code, status, shown, next) in cases {
        let case = Case::prepared(Undone).back(code, None).ended(Ending::Undone);
        let body = body(&case.0, None);
        assert_eq!(body["status"], status, "{code}");
        assert_eq!(
            (&body["failure"]["code"], &body["failure"]["do"]),
            (&json!(shown), &json!(next))
        );
        let message = body["customer_message"].as_str().unwrap();
        assert!(message.contains("You have not been charged."), "{message}");
        assert!(!body.to_string().contains("secret"), "{body}");
    }
    let residue =
        Case::prepared(Done).charge(Done, Some(charged())).ended(Ending::ClosedWithResidue);
    let body = body(&residue.0, None);
    assert_eq!((&body["status"], &body["money"]), (&json!("failed"), &json!("charged")));
    assert_eq!(body["failure"]["do"], "contact_support");
}

#[test]
fn what_needs_a_person_is_processing_and_says_no_more() {
    let mut held = Case::prepared(Done).charge(Retrying, None).phase(Phase::Held);
    held.0.summary.attention = Some("diverged".to_owned());
    let problem = |text: &str| Problem {
        code: text.to_owned(),
        message: text.to_owned(),
        fingerprint: "f".to_owned(),
    };
    held.0.summary.error = Some(problem("internals"));
    let body = body(&held.0, None);
    assert_eq!(body["status"], "processing");
    assert_eq!(body["customer_message"], "We are checking your payment.");
    assert!(!body.to_string().contains("internals") && !body.to_string().contains("diverged"));
}

#[test]
fn while_a_dependency_is_down_the_order_is_delayed() {
    let retrying = Case::prepared(Done).charge(Retrying, None).phase(Phase::Retrying);
    let body = body(&retrying.0, None);
    assert!(body["customer_message"].as_str().unwrap().starts_with("Order processing delayed"));
    assert_eq!(body["poll_after_ms"], 800);
}

#[test]
fn links_and_the_order_come_when_there_is_something_behind_them() {
    let new = body(&Case::new().0, None);
    assert_eq!(new["order"], Value::Null);
    assert!(new["links"]["cancel"].is_string() && new["links"]["order"].is_null());
    let mut paid = Case::prepared(Done).charge(Done, Some(charged()));
    paid.0.past_pivot = true;
    let paid = body(&paid.0, None);
    assert_eq!(paid["order"]["id"], ORDER.to_string());
    assert_eq!(paid["links"]["order"], format!("/v1/orders/{ORDER}"));
    assert_eq!((&paid["cancellable"], &paid["links"]["cancel"]), (&json!(false), &Value::Null));
}

#[test]
fn the_answer_to_a_start_has_the_shape_of_every_other() {
    let names = |body: &Value| body.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let view = Case::new().0;
    let accepted = accepted(view.summary.id, Money::NotCharged);
    assert_eq!(names(&accepted), names(&body(&view, None)));
    assert_eq!(accepted, body(&view, None));
}

#[test]
fn progress_tells_each_part_once() {
    let states = |case: Case| {
        let progress = progress(&case.0);
        let state = |line: &Value| line["state"].as_str().unwrap().to_owned();
        progress.iter().map(state).collect::<Vec<_>>()
    };
    assert_eq!(states(Case::prepared(Done)), ["done", "done", "running"]);
    assert_eq!(states(Case::prepared(Done).charge(Done, Some(charged()))), ["done"; 3]);
    let confirming =
        Case::prepared(Done).charge(Done, Some(charged())).step("commit-inventory", Done, None);
    assert_eq!(states(confirming), ["done", "done", "done", "running"]);
    let declined = Case::prepared(Undoing).charge(Rejected, None);
    assert_eq!(states(declined), ["undoing"; 3]);
    assert_eq!(states(Case::prepared(Undone)), ["undone"; 3]);
    let cancelled = Case::prepared(Undone).charge(Undone, Some(asked()));
    assert_eq!(states(cancelled.step(PAYMENT_EVENT, GivenUp, None)), ["undone"; 3]);
    assert_eq!(states(Case::new().step("sleep", Waiting, None)), [""; 0]);
}
