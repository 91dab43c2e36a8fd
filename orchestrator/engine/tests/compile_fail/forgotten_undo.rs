//! An undoable activity without its undo.
use engine::{Activity, Attempt, Failure, Undoable};
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

fn main() {}
