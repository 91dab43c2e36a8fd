//! What the arguments ask for, if they make sense together: said before hours are spent on something else.

use clap::{Parser, ValueEnum};

use crate::arguments::{Arguments, LoadArguments, Workload};
use crate::meter::PARTS;
use crate::sweep::Over;

/// The memory of fewer sagas is not to be told from what else comes and goes.
const WAITING_MIN: u32 = 1_000;

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
    /// What is run.
    fn workloads(self) -> Vec<Workload> {
        match self {
            Self::One(workload) | Self::Sweep(workload, _) => vec![workload],
            Self::Compare(pair) => pair.to_vec(),
            Self::Peers => vec![Workload::Peers],
            Self::Charge => vec![Workload::Charge],
        }
    }

    /// Whether the argument of that name means something to it.
    fn takes(self, argument: &str) -> bool {
        match argument {
            "output" | "bench" => true,
            "at-least" => matches!(self, Self::Compare(_)),
            "over" | "values" => matches!(self, Self::Sweep(..)),
            "only" => self == Self::Peers,
            "rounds" => matches!(self, Self::Compare(_) | Self::Sweep(..) | Self::Peers),
            "chart" => match self {
                Self::One(workload) => workload.has_clients(),
                Self::Sweep(..) | Self::Peers => true,
                Self::Compare(_) | Self::Charge => false,
            },
            // What one of a pair does not take is kept from it.
            _ => self.workloads().iter().any(|workload| workload.takes(argument)),
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
        let over = match asked {
            Asked::Sweep(_, over) => Some(over),
            _ => None,
        };
        let given = self.given.iter().cloned().chain(over.map(Over::name));
        for argument in given {
            if !asked.takes(&argument) {
                let names: Vec<String> = self.what.iter().map(|what| what.name()).collect();
                return Err(format!("`{}` takes no `--{argument}`", names.join(" ")));
            }
        }
        if let Some(over) = over {
            self.values_of(over)?;
        }
        for workload in asked.workloads() {
            match over {
                Some(over) => self.values.iter().try_for_each(|value| {
                    let load = over.with(*value, self.load).map_err(|error| error.to_string())?;
                    load.fit(workload)
                })?,
                None => self.load.fit(workload)?,
            }
        }
        if matches!(asked, Asked::One(_))
            && self.chart.is_some()
            && self.load.seconds < PARTS as u64
        {
            return Err(format!("memory over time takes `--seconds {PARTS}`, or more"));
        }
        Ok(())
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

impl LoadArguments {
    /// Whether they go together.
    fn fit(&self, workload: Workload) -> Result<(), String> {
        if let (Some(lines), Some(skus)) = (self.lines, self.skus)
            && lines > skus
        {
            return Err(format!("{lines} lines take as many goods: `--skus {lines}`, or more"));
        }
        if workload == Workload::Waiting && self.in_flight < WAITING_MIN {
            return Err(format!(
                "what a waiting saga takes is seen with many only: `--in-flight {WAITING_MIN}`, or more"
            ));
        }
        Ok(())
    }
}

impl Workload {
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether the argument of that name means something to a run of it.
    pub(crate) fn takes(self, argument: &str) -> bool {
        match argument {
            "in-flight" => true,
            "seconds" | "warm-up" => self.has_clients() || self == Self::Peers,
            "rate" => self.has_clients(),
            "nodes" => self.is_one() && !matches!(self, Self::Floor | Self::Plain | Self::Takeover),
            "lanes" => self.is_one() && self != Self::Plain,
            "keyed" => {
                matches!(self, Self::Noop | Self::History | Self::Console | Self::ThreeStores)
            }
            "seed" | "lines" | "skus" => {
                matches!(self, Self::PlaceOrder | Self::Declines | Self::Plain)
            }
            "ended" => matches!(self, Self::History | Self::Console),
            _ => false,
        }
    }

    /// It is something that is measured.
    fn is_one(self) -> bool {
        !matches!(self, Self::Compare | Self::Sweep | Self::Peers | Self::Charge)
    }

    /// It goes on for a time, with clients.
    fn has_clients(self) -> bool {
        self.is_one() && !matches!(self, Self::Waiting | Self::Takeover)
    }
}
