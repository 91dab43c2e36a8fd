//! A class that the engine does not know.
use engine::{Activity, Attempt, Failure};
use serde::{Deserialize, Serialize};

struct World;

struct Sometimes;

#[derive(Serialize, Deserialize)]
struct Put(u32);

impl Activity for Put {
    const NAME: &'static str = "put";
    const DEPENDENCY: &'static str = "world";
    type Services = World;
    type Output = u32;
    type Class = Sometimes;

    async fn run(&self, _: &World, _: &Attempt) -> Result<u32, Failure> {
        Ok(self.0)
    }
}

fn main() {}
