//! An activity that has no undo and does not say why.
use engine::{Activity, Attempt, Failure, NoUndo};
use serde::{Deserialize, Serialize};

struct World;

#[derive(Serialize, Deserialize)]
struct Put(u32);

impl Activity for Put {
    const NAME: &'static str = "put";
    const DEPENDENCY: &'static str = "world";
    type Services = World;
    type Output = u32;
    type Class = NoUndo;

    async fn run(&self, _: &World, _: &Attempt) -> Result<u32, Failure> {
        Ok(self.0)
    }
}

fn main() {}
