//! Poison: calls that break whoever makes them, known by a word in their input.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use super::named::named;
use crate::activity::Activity;
use crate::handler::{Attempted, answered};
use crate::payload::PAYLOAD_BYTES_MAX;

/// `<activity>:<word>:<harm>`: every call of this activity with this word in its input. Several stand
/// apart by commas.
pub const POISON: &str = "AMENDS_TEST_POISON";

named! {
    /// What a poisoned call does.
    pub enum PoisonHarm ("poison") {
        /// It panics before it did anything.
        Panic = "panic",
        /// It takes the process with it before it did anything.
        Abort = "abort",
        /// It is carried out, and answers more than a journal takes.
        Oversize = "oversize",
    }
}

/// One kind of poisoned calls: `reserve-inventory:hemlock:abort`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poison {
    /// Whose calls.
    pub activity: String,
    /// What those of its calls have in their input, as JSON text.
    pub word: String,
    /// What they do.
    pub harm: PoisonHarm,
}

impl fmt::Display for Poison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { activity, word, harm } = self;
        write!(f, "{activity}:{word}:{harm}")
    }
}

impl FromStr for Poison {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split(':').collect::<Vec<_>>()[..] {
            [activity, word, harm] if !word.is_empty() => {
                let (activity, word) = (activity.to_owned(), word.to_owned());
                Ok(Self { activity, word, harm: harm.parse()? })
            }
            _ => Err(format!("`{text}` is not <activity>:<word>:<harm>")),
        }
    }
}

/// Read once: it is there from the beginning to the end.
pub(super) fn from_environment() -> &'static Result<Vec<Poison>, String> {
    static POISON_OF: OnceLock<Result<Vec<Poison>, String>> = OnceLock::new();
    let poison = |text: &str| text.parse().map_err(|error: String| format!("{POISON}: {error}"));
    let read = || match std::env::var(POISON) {
        Ok(text) => text.split(',').map(poison).collect(),
        Err(std::env::VarError::NotPresent) => Ok(Vec::new()),
        Err(error) => Err(format!("{POISON}: {error}")),
    };
    POISON_OF.get_or_init(read)
}

fn harm_of<A: Activity>(poisons: &[Poison], activity: &A) -> Option<PoisonHarm> {
    let poisons: Vec<_> = poisons.iter().filter(|poison| poison.activity == A::NAME).collect();
    if poisons.is_empty() {
        return None;
    }
    let input = serde_json::to_string(activity).unwrap_or_default();
    poisons.into_iter().find(|poison| input.contains(&poison.word)).map(|poison| poison.harm)
}

fn poisoned<A: Activity>(activity: &A) -> Option<PoisonHarm> {
    harm_of(from_environment().as_deref().unwrap_or_default(), activity)
}

/// A call is about to be carried out.
pub(crate) fn before<A: Activity>(activity: &A) {
    match poisoned(activity) {
        Some(PoisonHarm::Panic) => panic!("a test poisoned this call of {}", A::NAME),
        Some(PoisonHarm::Abort) => std::process::abort(),
        Some(PoisonHarm::Oversize) | None => {}
    }
}

/// A call was carried out.
pub(crate) fn after<A: Activity>(activity: &A, attempted: Attempted) -> Attempted {
    match (poisoned(activity), attempted) {
        (Some(PoisonHarm::Oversize), Attempted::Answered(Ok(_))) => {
            answered(Ok("x".repeat(PAYLOAD_BYTES_MAX)))
        }
        (_, attempted) => attempted,
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::activity::{Attempt, ForwardOnly};
    use crate::failure::Failure;

    #[derive(Serialize, Deserialize)]
    struct Drink {
        cup: String,
    }

    impl Activity for Drink {
        const NAME: &'static str = "drink";
        const DEPENDENCY: &'static str = "cellar";
        type Services = ();
        type Output = ();
        type Class = ForwardOnly;

        async fn run(&self, (): &(), _: &Attempt) -> Result<(), Failure> {
            Ok(())
        }
    }

    #[test]
    fn poison_is_read_as_it_is_written() {
        for harm in PoisonHarm::ALL {
            let poison = Poison { activity: "drink".to_owned(), word: "hemlock".to_owned(), harm };
            assert_eq!(poison.to_string().parse(), Ok(poison));
        }
        let refused = |text: &str| text.parse::<Poison>().unwrap_err();
        for text in ["", "drink:hemlock", "drink::abort", "a:b:abort:d"] {
            assert_eq!(refused(text), format!("`{text}` is not <activity>:<word>:<harm>"));
        }
        assert!(refused("drink:hemlock:sing").contains("they are panic, abort, oversize"));
    }

    #[test]
    fn a_call_is_poisoned_by_its_activity_and_a_word_in_its_input() {
        let poisons = ["drink:hemlock:abort", "eat:water:panic", "drink:lead:oversize"];
        let poisons = poisons.map(|poison| poison.parse().unwrap());
        let harm = |cup: &str| harm_of(&poisons, &Drink { cup: cup.to_owned() });
        assert_eq!(harm("hemlock, cold"), Some(PoisonHarm::Abort));
        assert_eq!(harm("wine with lead"), Some(PoisonHarm::Oversize));
        assert_eq!(harm("water"), None);
    }
}
