//! A NUL in a text, which PostgreSQL can not hold, stops no saga and no view.

use std::time::Duration;

use engine::client::Told;
use engine::journal::Ending;
use engine::operator::{Action, Who};
use engine::{Abort, Payload, Registry, Saga, Workflow};
use sqlx::{Connection, PgConnection};

use crate::harness::{database, ends, engine, signal, start};
use crate::script::{Answer, Do, Script, Then, does, held, then, until};

/// Its words have a NUL each; it gives back the one that it is sent.
struct Nul;

impl Workflow for Nul {
    const NAME: &'static str = "nul";
    type Services = Script;
    type Input = String;
    type Output = Option<String>;
    type Activities = (Do, Then);

    async fn run(saga: &mut Saga<Self>, what: String) -> Result<Option<String>, Abort> {
        saga.step(Do(what)).await?;
        saga.step(does("\\u0000 \\\0 \0\0")).await?;
        let word = saga.signal::<String>("g\0", Duration::from_secs(600)).await?;
        saga.pivot().step(then("c\0d")).await;
        Ok(word)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nul_in_any_text_stops_no_saga_and_no_view() {
    let (url, script) = (database().await, Script::new());
    let engine = engine(&url, Registry::new().workflow::<Nul>(&script)).await;
    let client = engine.client();
    script.on("do c\0d", [Answer::No]);
    let mut begun = start("nul", &"a\0b");
    (begun.business_key, begun.subject) = (Some("k\0".into()), Some("s\0".into()));
    let id = client.start(begun).await.unwrap().id;
    until(&client, id, |view| view.summary.activity.as_deref() == Some("g\0")).await;
    signal(&client, id, "g\0", Payload::encode("e\0f").unwrap()).await;
    let view = held(&client, id).await;
    assert_eq!(view.summary.error.unwrap().message, "c\0d says no", "as it was said");

    let mut rows = PgConnection::connect(&url).await.unwrap();
    let row = "select business_key, subject, error_message from saga.saga where saga_id = $1";
    let row: (String, String, String) =
        sqlx::query_as(row).bind(id).fetch_one(&mut rows).await.unwrap();
    let shown = ("k\u{fffd}".into(), "s\u{fffd}".into(), "c\u{fffd}d says no".into());
    assert_eq!(row, shown);

    let who = |reason: &str| Who {
        actor: "operator:t\0".into(),
        reason: reason.into(),
        request_id: Some("r\0".into()),
    };
    let acted = engine.operator().act(id, Action::Retry, who("why\0"), None).await.unwrap();
    assert_eq!(acted.told, Told::Taken);
    let view = ends(&client, id, Ending::Completed).await;
    assert_eq!(view.result.unwrap().decode::<Option<String>>().unwrap().unwrap(), "e\0f");

    let words = "select detail #>> '{output}' from saga.history
                  where saga_id = $1 and fact = 'done' order by seq, number";
    let words: Vec<String> = sqlx::query_scalar(words).bind(id).fetch_all(&mut rows).await.unwrap();
    let expected = ["a\u{fffd}b", "\\u0000 \\\u{fffd} \u{fffd}\u{fffd}", "c\u{fffd}d"];
    assert_eq!(words, expected);
    engine.shutdown().await;
}
