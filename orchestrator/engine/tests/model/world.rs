//! The world a saga acts on: the payment gateway and a store of our own, and what is under way to
//! them.

use std::collections::BTreeMap;

use crate::mistake::Mistake;

/// An idempotency key of the gateway. The intent is named by the key that makes it, so making and
/// confirming it is one request here: a new key is a new intent.
pub(crate) type Key = u32;

/// What is asked of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Call {
    /// Of the store: put stock aside.
    Reserve,
    /// Of the store: take that back.
    Release,
    /// Of the store, past the pivot: confirm the order.
    Confirm,
    /// Of the gateway: how does the intent stand?
    LookUp(Key),
    /// Of the gateway: take the money.
    Charge(Key),
    /// Of the gateway: no money may move from here on.
    Cancel(Key),
    /// Of the gateway: give the money back.
    Refund(Key),
}

/// A call under way. The same call of another attempt, or of another owner, is another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Request {
    /// Which ownership sent it.
    pub(crate) fence: u8,
    /// In which attempt.
    pub(crate) number: u32,
    pub(crate) call: Call,
}

/// What the world says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    /// Done, now or before.
    Done,
    /// Taken back before it was done.
    ShutOut,
    /// The bank says no. Nothing is kept under the key: the next time it may say yes.
    Declined,
    /// No money moved, and none did so far.
    Open,
    /// The money moved.
    Captured {
        /// And it was given back.
        given_back: bool,
    },
    /// No money moved, and none can.
    Canceled,
}

/// The action's row in the store's effects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Row {
    #[default]
    None,
    Done,
    ShutOut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Intent {
    Captured,
    Canceled,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct World {
    reserve: Row,
    /// The stock was taken back.
    pub(crate) released: bool,
    pub(crate) is_held: bool,
    pub(crate) is_confirmed: bool,
    /// An intent that is not here is open.
    intents: BTreeMap<Key, Intent>,
    pub(crate) charges: u8,
    pub(crate) refunds: u8,
}

impl World {
    /// Carries out `call`; `pays` says what the bank would do.
    pub(crate) fn carry_out(&mut self, call: Call, pays: bool, mistake: Option<Mistake>) -> Answer {
        match call {
            Call::Reserve => self.reserve(),
            Call::Release => self.release(mistake),
            Call::Confirm => {
                self.is_confirmed = true;
                Answer::Done
            }
            Call::LookUp(key) => self.intent(key),
            Call::Charge(key) => match (self.intent(key), pays) {
                (Answer::Open, true) => {
                    self.intents.insert(key, Intent::Captured);
                    self.charges += 1;
                    self.intent(key)
                }
                (Answer::Open, false) => Answer::Declined,
                (answer, _) => answer,
            },
            Call::Cancel(key) => {
                self.intents.entry(key).or_insert(Intent::Canceled);
                self.intent(key)
            }
            Call::Refund(_) => {
                if self.refunds == 0 || mistake == Some(Mistake::RefundWithoutKey) {
                    self.refunds += 1;
                }
                Answer::Done
            }
        }
    }

    /// Whether the bank has a say in it.
    pub(crate) fn is_open_to_the_bank(&self, call: Call) -> bool {
        matches!(call, Call::Charge(key) if self.intent(key) == Answer::Open)
    }

    fn intent(&self, key: Key) -> Answer {
        match self.intents.get(&key) {
            None => Answer::Open,
            Some(Intent::Captured) => Answer::Captured { given_back: self.refunds > 0 },
            Some(Intent::Canceled) => Answer::Canceled,
        }
    }

    fn reserve(&mut self) -> Answer {
        match self.reserve {
            Row::None => {
                (self.reserve, self.is_held) = (Row::Done, true);
                Answer::Done
            }
            Row::Done => Answer::Done,
            Row::ShutOut => Answer::ShutOut,
        }
    }

    fn release(&mut self, mistake: Option<Mistake>) -> Answer {
        if self.reserve == Row::None && mistake != Some(Mistake::NoTombstone) {
            self.reserve = Row::ShutOut;
        }
        (self.released, self.is_held) = (true, false);
        Answer::Done
    }
}
