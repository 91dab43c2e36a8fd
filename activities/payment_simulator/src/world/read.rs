//! The calls that only read: one object, or a page of a list, newest first.

use axum::http::StatusCode;

use crate::error::StripeError;
use crate::form::Form;
use crate::intent_body;
use crate::route::Route;

use super::World;

const LIMIT_DEFAULT: usize = 10;
const LIMIT_MAX: i64 = 100;

/// `limit`, `starting_after` and `created[...]` of a list.
struct Page<'a> {
    limit: usize,
    after: Option<&'a str>,
    /// Unix seconds, both inclusive.
    created: (i64, i64),
}

impl World {
    /// The body, and the place in the log that has to be synced before it may be shown.
    pub(crate) fn read(
        &self,
        route: &Route<'_>,
        form: &Form,
    ) -> Result<(String, u64), StripeError> {
        match route {
            Route::GetIntent(id) => {
                form.only(&["expand", "client_secret"])?;
                let intent = &self.intents.rows
                    [self.intents.find(id).ok_or_else(|| missing("payment_intent", id))?];
                let expand = expands(form, "latest_charge");
                Ok((intent_body::text(intent, &self.base_url, expand), intent.seq))
            }
            Route::GetRefund(id) => {
                form.only(&["expand"])?;
                let at = self.refunds.find(id).ok_or_else(|| missing("refund", id))?;
                let refund = &self.refunds.rows[at];
                Ok((refund.text(), refund.seq))
            }
            Route::GetEvent(id) => {
                let event = self.events.newest_first().find(|event| event.id == *id);
                let event = event.ok_or_else(|| missing("event", id))?;
                Ok((text(&event.body), self.seq))
            }
            Route::ListIntents => Ok((self.list_intents(form)?, self.seq)),
            Route::ListRefunds => Ok((self.list_refunds(form)?, self.seq)),
            Route::ListEvents => Ok((self.list_events(form)?, self.seq)),
            _ => Err(StripeError::unknown_route("GET", "")),
        }
    }

    fn list_intents(&self, form: &Form) -> Result<String, StripeError> {
        let page = Page::parse(form, &["customer"])?;
        let end = match page.after {
            None => self.intents.rows.len(),
            Some(id) => self.intents.find(id).ok_or_else(|| page.bad_cursor("payment_intent"))?,
        };
        let expand = expands(form, "data.latest_charge");
        let customer = form.text("customer");
        let rows = self.intents.rows[..end]
            .iter()
            .rev()
            .take_while(|intent| intent.created >= page.created.0)
            .filter(|intent| intent.created <= page.created.1)
            .filter(|intent| customer.is_none() || intent.customer.as_deref() == customer)
            .map(|intent| intent_body::text(intent, &self.base_url, expand));
        Ok(page.body("/v1/payment_intents", rows))
    }

    fn list_refunds(&self, form: &Form) -> Result<String, StripeError> {
        let page = Page::parse(form, &["payment_intent", "charge"])?;
        let end = match page.after {
            None => self.refunds.rows.len(),
            Some(id) => self.refunds.find(id).ok_or_else(|| page.bad_cursor("refund"))?,
        };
        let (intent, charge) = (form.text("payment_intent"), form.text("charge"));
        let rows = self.refunds.rows[..end]
            .iter()
            .rev()
            .filter(|refund| (page.created.0..=page.created.1).contains(&refund.created))
            .filter(|refund| intent.is_none_or(|id| refund.intent == id))
            .filter(|refund| charge.is_none() || refund.charge.as_deref() == charge)
            .map(|refund| refund.text());
        Ok(page.body("/v1/refunds", rows))
    }

    fn list_events(&self, form: &Form) -> Result<String, StripeError> {
        let page = Page::parse(form, &["type", "types"])?;
        let mut kinds = form.list("types");
        kinds.extend(form.text("type").map(str::to_owned));
        let mut newest_first = self.events.newest_first();
        if let Some(id) = page.after {
            newest_first.find(|event| event.id == id).ok_or_else(|| page.bad_cursor("event"))?;
        }
        let rows = newest_first
            .filter(|event| (page.created.0..=page.created.1).contains(&event.created))
            .filter(|event| kinds.is_empty() || kinds.iter().any(|kind| kind == event.kind))
            .map(|event| text(&event.body));
        Ok(page.body("/v1/events", rows))
    }
}

impl<'a> Page<'a> {
    fn parse(form: &'a Form, more: &[&str]) -> Result<Page<'a>, StripeError> {
        form.only(&[&["limit", "starting_after", "created", "expand"], more].concat())?;
        let limit = form.integer("limit")?.unwrap_or(LIMIT_DEFAULT as i64);
        if !(1..=LIMIT_MAX).contains(&limit) {
            let message = format!("limit must be between 1 and {LIMIT_MAX}");
            return Err(StripeError::invalid("parameter_invalid_integer", "limit", message));
        }
        let (gt, lt) = (form.integer("created[gt]")?, form.integer("created[lt]")?);
        let least = form.integer("created[gte]")?.or_else(|| gt.map(|at| at.saturating_add(1)));
        let most = form.integer("created[lte]")?.or_else(|| lt.map(|at| at.saturating_sub(1)));
        Ok(Page {
            limit: usize::try_from(limit).unwrap_or(LIMIT_DEFAULT),
            after: form.text("starting_after"),
            created: (least.unwrap_or(i64::MIN), most.unwrap_or(i64::MAX)),
        })
    }

    fn bad_cursor(&self, what: &str) -> StripeError {
        let id = self.after.unwrap_or_default();
        StripeError::missing(StatusCode::BAD_REQUEST, what, id, "starting_after")
    }

    fn body(&self, url: &str, mut rows: impl Iterator<Item = String>) -> String {
        let data: Vec<String> = rows.by_ref().take(self.limit).collect();
        let has_more = rows.next().is_some();
        let data = data.join(",");
        format!(r#"{{"object":"list","url":"{url}","has_more":{has_more},"data":[{data}]}}"#)
    }
}

fn missing(what: &str, id: &str) -> StripeError {
    StripeError::missing(StatusCode::NOT_FOUND, what, id, "id")
}

fn expands(form: &Form, name: &str) -> bool {
    form.list("expand").iter().any(|expanded| expanded == name)
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}
