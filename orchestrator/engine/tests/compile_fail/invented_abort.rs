//! A workflow that makes an `Abort` of its own.
use engine::{
    Abort, Activity, Attempt, Failure, Outcome, Saga, Undo, UndoFailure, Undoable, Workflow, reject,
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

struct Flow;

impl Workflow for Flow {
    const NAME: &'static str = "flow";
    type Services = World;
    type Input = ();
    type Output = u32;
    type Activities = (Put,);

    async fn run(saga: &mut Saga<Self>, (): ()) -> Result<u32, Abort> {
        saga.step(Put(1)).await?;
        Err(reject("no", "I say so"))
    }
}

fn main() {}
