//! What the arguments ask for, if they make sense together: said before hours are spent on something else.

use clap::{Parser, ValueEnum};

use crate::arguments::{Arguments, LoadArguments, Workload};
use crate::meter::PARTS;
use crate::sweep::Over;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    One(Workload),
    /// Both by turns.
    Compare([Workload; 2]),
    /// With one value after the other.
    Sweep(Workload, Over),
    Peers,
    /// Not measured: a process that others charge at.
    Charge,
}

impl Asked {
    fn has_chart(self) -> bool {
        match self {
            Self::One(workload) => workload.has_clients(),
            Self::Sweep(..) | Self::Peers => true,
            Self::Compare(_) | Self::Charge => false,
        }
    }
}

impl Arguments {
    /// What they ask for; an error says what to write instead.
    pub(crate) fn asked(&self) -> Result<Asked, String> {
        let asked = match self.what[..] {
            [Workload::Compare, first, second] if first.is_one() && second.is_one() => {
                Asked::Compare([first, second])
            }
            [Workload::Compare, ..] => {
                return Err("`compare` takes two workloads, such as `compare noop floor`".into());
            }
            [Workload::Sweep, workload] if workload.is_one() => {
                let over = self.over.ok_or(
                    "say what there is more of each time, such as `--over in-flight --values 8,64`",
                )?;
                Asked::Sweep(workload, over)
            }
            [Workload::Sweep, ..] => {
                return Err("`sweep` takes one workload, such as `sweep noop`".into());
            }
            [Workload::Peers] => Asked::Peers,
            [Workload::Charge] => Asked::Charge,
            [workload] if workload.is_one() => Asked::One(workload),
            _ => return Err("name one workload, or `compare` and two".into()),
        };
        self.suit(asked)?;
        Ok(asked)
    }

    /// Whether each argument means something to what was asked for.
    fn suit(&self, asked: Asked) -> Result<(), String> {
        let (is_compare, is_sweep) =
            (matches!(asked, Asked::Compare(_)), matches!(asked, Asked::Sweep(..)));
        let is_peers = asked == Asked::Peers;
        let misplaced = [
            ("--at-least", self.at_least.is_some() && !is_compare, "`compare`"),
            ("--over", self.over.is_some() && !is_sweep, "`sweep`"),
            ("--values", !self.values.is_empty() && !is_sweep, "`sweep`"),
            ("--only", !self.only.is_empty() && !is_peers, "`peers`"),
            (
                "--chart",
                self.chart.is_some() && !asked.has_chart(),
                "`sweep`, `peers` and what has clients",
            ),
        ];
        if let Some((argument, _, of)) = misplaced.iter().find(|(_, is_misplaced, _)| *is_misplaced)
        {
            return Err(format!("`{argument}` is for {of}"));
        }
        let (workloads, over) = match asked {
            Asked::One(workload) => (vec![workload], None),
            Asked::Compare(pair) => (pair.to_vec(), None),
            Asked::Sweep(workload, over) => (vec![workload], Some(over)),
            // The others are driven in one way only.
            Asked::Peers | Asked::Charge => (Vec::new(), None),
        };
        for (argument, is_given, is_of) in self.load.given(over) {
            if is_given && !workloads.iter().any(|workload| is_of(*workload)) {
                let names: Vec<String> = self.what.iter().map(|what| what.name()).collect();
                return Err(format!("`{}` takes no `{argument}`", names.join(" ")));
            }
        }
        match asked {
            Asked::Sweep(_, over) => self.values_of(over),
            Asked::One(_) if self.chart.is_some() && self.load.seconds < PARTS as u64 => {
                Err(format!("memory over time takes `--seconds {PARTS}`, or more"))
            }
            _ => Ok(()),
        }
    }

    /// Whether `over` may have each of the values.
    fn values_of(&self, over: Over) -> Result<(), String> {
        if self.values.is_empty() {
            return Err("say how much of it, such as `--values 8,64,512`".into());
        }
        for value in &self.values {
            let words = [String::from("load"), "noop".into(), format!("--{}={value}", over.name())];
            Self::try_parse_from(words).map_err(|error| {
                error.to_string().lines().next().unwrap_or_default().replacen("error: ", "", 1)
            })?;
        }
        Ok(())
    }
}

/// An argument, whether it is given, and which workloads it means something to.
type Given = (&'static str, bool, fn(Workload) -> bool);

impl LoadArguments {
    fn given(&self, over: Option<Over>) -> [Given; 7] {
        [
            ("--rate", self.rate.is_some() || over == Some(Over::Rate), Workload::has_clients),
            ("--nodes", self.nodes > 1 || over == Some(Over::Nodes), Workload::has_nodes),
            ("--lanes", self.lanes.is_some(), |workload| workload != Workload::Plain),
            ("--keyed", self.keyed, Workload::may_have_keys),
            ("--lines", self.lines.is_some() || over == Some(Over::Lines), Workload::has_orders),
            ("--skus", self.skus.is_some() || over == Some(Over::Skus), Workload::has_orders),
            ("--ended", over == Some(Over::Ended), Workload::has_history),
        ]
    }
}

impl Workload {
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// It is something that is measured.
    fn is_one(self) -> bool {
        !matches!(self, Self::Compare | Self::Sweep | Self::Peers | Self::Charge)
    }

    /// It goes on for a time, with clients.
    fn has_clients(self) -> bool {
        self.is_one() && !matches!(self, Self::Waiting | Self::Takeover)
    }

    /// It runs on as many engines as one likes.
    pub(crate) fn has_nodes(self) -> bool {
        self.is_one() && !matches!(self, Self::Floor | Self::Plain | Self::Takeover)
    }

    fn may_have_keys(self) -> bool {
        matches!(self, Self::Noop | Self::History | Self::Console | Self::ThreeStores)
    }

    fn has_orders(self) -> bool {
        matches!(self, Self::PlaceOrder | Self::Declines | Self::Plain)
    }

    fn has_history(self) -> bool {
        matches!(self, Self::History | Self::Console)
    }
}
