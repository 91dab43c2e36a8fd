//! The effects ledger: what each step of a saga left in the real world.

use time::OffsetDateTime;

use super::story::Story;
use super::{Effect, EffectState};
use crate::handler::Handlers;
use crate::state::{Kind, Status, Step};

/// One line for each use of an activity, in the order of the steps.
pub(crate) fn effects(story: &Story, handlers: &Handlers, now: OffsetDateTime) -> Vec<Effect> {
    let steps = story.state.steps.iter().zip(&story.steps).enumerate();
    steps
        .filter_map(|(index, (step, kept))| {
            let Kind::Activity { name, .. } = &step.kind else { return None };
            let line = kept.input.as_ref().zip(handlers.get(&**name));
            let description = line.map_or_else(
                || name.replace('-', " "),
                |(input, handler)| handler.describe_effect(input, kept.output.as_ref()),
            );
            Some(Effect {
                step: index as u32 + 1,
                activity: name.to_string(),
                state: effect_of(step, now),
                description,
            })
        })
        .collect()
}

fn effect_of(step: &Step, now: OffsetDateTime) -> EffectState {
    match step.status {
        _ if step.undone => EffectState::Undone,
        Status::Done => EffectState::InForce,
        // Every attempt of it that ended did certainly nothing, and none is under way.
        Status::Open if !step.unsure && step.tries.next_at.is_some_and(|next| next > now) => {
            EffectState::None
        }
        Status::Open => EffectState::Unknown,
        Status::Rejected | Status::GivenUp if step.unsure => EffectState::Unknown,
        Status::Rejected | Status::GivenUp => EffectState::None,
    }
}
