//! A workflow: the code of a saga, what starts it, what it yields, and the activities it may use.

use std::any::TypeId;
use std::future::Future;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::activity::Activity;
use crate::handler::{Handler, handler};
use crate::saga::{Abort, Saga};

/// The code of a saga: a plain async function over `Saga`. It must do the same over the same
/// outcomes, because it is run again over the journal after a crash: no clock, no randomness, no
/// I/O but steps.
pub trait Workflow: Sized + Send + Sync + 'static {
    /// Its name, as started and shown.
    const NAME: &'static str;

    /// What its activities work with.
    type Services: Send + Sync + 'static;
    /// What starts it.
    type Input: Serialize + DeserializeOwned + Send + 'static;
    /// What it yields.
    type Output: Serialize + DeserializeOwned + Send + 'static;
    /// Every activity it uses, as a tuple: what the engine can undo without this code, and what the
    /// compiler holds the code to.
    type Activities: ActivitySet<Self::Services>;

    /// Runs it.
    fn run(
        saga: &mut Saga<Self>,
        input: Self::Input,
    ) -> impl Future<Output = Result<Self::Output, Abort>> + Send;
}

/// What a set of services has for an activity that works with `T`.
#[diagnostic::on_unimplemented(
    message = "the workflow's services `{Self}` do not provide `{T}`",
    note = "implement `Provides<{T}>` for `{Self}`"
)]
pub trait Provides<T> {
    /// The part an activity works with.
    fn provide(&self) -> &T;
}

impl<T> Provides<T> for T {
    fn provide(&self) -> &T {
        self
    }
}

/// A tuple of activities, up to 12.
pub trait ActivitySet<S> {
    #[doc(hidden)]
    fn handlers(services: &Arc<S>) -> Vec<(Arc<dyn Handler>, TypeId)>;
}

/// That a workflow's `type Activities` has `A`. The index only tells the tuple's places apart.
#[diagnostic::on_unimplemented(
    message = "this workflow does not declare the activity `{A}`",
    label = "not in `type Activities`",
    note = "add `{A}` to `type Activities` of the workflow"
)]
pub trait Declares<A, Index> {}

#[doc(hidden)]
#[derive(Debug)]
pub struct At<const N: usize>;

/// What no workflow declares. Were there one way only to declare something in a tuple of one, the
/// compiler would take any other activity for a mistyped one and say so, not that it is undeclared.
#[doc(hidden)]
#[derive(Debug)]
pub enum Nothing {}
#[diagnostic::do_not_recommend]
impl<A> Declares<Nothing, At<{ usize::MAX }>> for (A,) {}

macro_rules! activity_set {
    ($($name:ident @ $index:literal),*) => {
        impl<S: Send + Sync + 'static, $($name: Activity),*> ActivitySet<S> for ($($name,)*)
        where $(S: Provides<$name::Services>),*
        {
            fn handlers(services: &Arc<S>) -> Vec<(Arc<dyn Handler>, TypeId)> {
                vec![$((handler::<$name, S>(services.clone()), TypeId::of::<$name>())),*]
            }
        }
        activity_set!(@each ($($name),*) $($name @ $index),*);
    };
    (@each $all:tt $($name:ident @ $index:literal),*) => { $(activity_set!(@one $all $name $index);)* };
    (@one ($($all:ident),*) $name:ident $index:literal) => {
        #[diagnostic::do_not_recommend]
        impl<$($all),*> Declares<$name, At<$index>> for ($($all,)*) {}
    };
}

activity_set!(A @ 0);
activity_set!(A @ 0, B @ 1);
activity_set!(A @ 0, B @ 1, C @ 2);
activity_set!(A @ 0, B @ 1, C @ 2, D @ 3);
activity_set!(A @ 0, B @ 1, C @ 2, D @ 3, E @ 4);
activity_set!(A @ 0, B @ 1, C @ 2, D @ 3, E @ 4, F @ 5);
activity_set!(A @ 0, B @ 1, C @ 2, D @ 3, E @ 4, F @ 5, G @ 6);
activity_set!(A @ 0, B @ 1, C @ 2, D @ 3, E @ 4, F @ 5, G @ 6, H @ 7);
activity_set!(A @ 0, B @ 1, C @ 2, D @ 3, E @ 4, F @ 5, G @ 6, H @ 7, I @ 8);
activity_set!(A @ 0, B @ 1, C @ 2, D @ 3, E @ 4, F @ 5, G @ 6, H @ 7, I @ 8, J @ 9);
activity_set!(A @ 0, B @ 1, C @ 2, D @ 3, E @ 4, F @ 5, G @ 6, H @ 7, I @ 8, J @ 9, K @ 10);
activity_set!(A @ 0, B @ 1, C @ 2, D @ 3, E @ 4, F @ 5, G @ 6, H @ 7, I @ 8, J @ 9, K @ 10, L @ 11);
