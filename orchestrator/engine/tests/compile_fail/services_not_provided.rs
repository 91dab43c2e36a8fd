//! A workflow whose services lack what an activity works with.
use engine::{
    Abort, Activity, Attempt, Failure, Outcome, Saga, Undo, UndoFailure, Undoable, Workflow,
};
use serde::{Deserialize, Serialize};

struct World;

#[derive(Serialize, Deserialize)]
struct Put(u32);

impl Activity for Put {
    const NAME: &'static str = "put";
    const DEPENDENCY: &'static str = "world";
    type Services = World;
    type Output = u32;
    type Class = Undoable;

    async fn run(&self, _: &World, _: &Attempt) -> Result<u32, Failure> {
        Ok(self.0)
    }
}

impl Undo for Put {
    async fn undo(&self, _: &World, _: &Attempt, _: Outcome<'_, u32>) -> Result<(), UndoFailure> {
        Ok(())
    }
}

struct Shop;

struct Flow;

impl Workflow for Flow {
    const NAME: &'static str = "flow";
    type Services = Shop;
    type Input = ();
    type Output = u32;
    type Activities = (Put,);

    async fn run(saga: &mut Saga<Self>, (): ()) -> Result<u32, Abort> {
        saga.step(Put(1)).await
    }
}

fn main() {}
