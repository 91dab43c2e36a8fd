//! Where a test does harm around a commit. A program has nothing of it.

#[cfg(feature = "testing")]
pub(crate) use crate::testing::Marks;

#[cfg(not(feature = "testing"))]
pub(crate) use none::Marks;

#[cfg(not(feature = "testing"))]
mod none {
    use crate::id::SagaId;
    use crate::journal::Fact;
    use crate::program::Registry;
    use crate::state::State;

    /// Nothing.
    #[derive(Clone, Copy, Debug, Default)]
    pub(crate) struct Marks;

    impl Marks {
        pub(crate) fn of(_: &Registry, _: SagaId, _: &[Fact], _: &State) -> Self {
            Self
        }

        pub(crate) fn before_commit(self) -> bool {
            false
        }

        pub(crate) fn durable(self) -> bool {
            false
        }

        pub(crate) fn known(self) {}
    }
}
