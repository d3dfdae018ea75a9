//! [pure] The outcome: what is left of the rate at which everybody is answered.

use std::collections::BTreeMap;
use std::fmt;

use crate::bench::report::{NOT_MEASURED, Sample, Server, Spread, Work, judged};
use crate::table::Table;

/// Works whose answers are so small that it shows who is asked for what.
pub(super) const WORKS: [Work; 3] = [Work::ManifestByTag, Work::ManifestByDigest, Work::SmallBlob];

/// The share of the anonymous rate that Berth is built for.
const GOAL: f64 = 0.9;

/// What a server wants to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    Anonymous,
    Issuer,
    Es256,
    Rs256,
    Password,
}

impl Way {
    /// Those that ask.
    const ALL: [Way; 4] = [Way::Issuer, Way::Es256, Way::Rs256, Way::Password];

    pub(super) fn title(self) -> &'static str {
        match self {
            Way::Anonymous => "nothing",
            Way::Issuer => "its own token, ES256",
            Way::Es256 => "a token, ES256",
            Way::Rs256 => "a token, RS256",
            Way::Password => "a password, bcrypt of cost 10",
        }
    }
}

/// The outcome of one round: for each, what asks nobody, and its neighbour in time that does.
#[derive(Debug, Clone, Default)]
pub(in crate::bench) struct Round(BTreeMap<(Work, Server, Way), [Sample; 2]>);

impl Round {
    pub(super) fn measured(&mut self, server: Server, way: Way, work: Work, pair: [Sample; 2]) {
        self.0.insert((work, server, way), pair);
    }
}

/// The outcome of all rounds.
#[derive(Debug, Clone, Default)]
pub(in crate::bench) struct Outcome {
    rounds: Vec<Round>,
}

impl Outcome {
    pub(in crate::bench) fn add(&mut self, round: Round) {
        self.rounds.push(round);
    }

    /// The rates without and with, the share that is left of the first, and how much more processor time an answer takes.
    fn cells(&self, server: Server, way: Way, work: Work) -> [String; 4] {
        let pairs = || self.rounds.iter().filter_map(|round| round.0.get(&(work, server, way)));
        let share = Spread::of(pairs().map(|[open, guarded]| guarded.per_second / open.per_second));
        [
            Spread::rate(pairs().map(|[open, _]| open), work),
            Spread::rate(pairs().map(|[_, guarded]| guarded), work),
            judged(share, (server == Server::Berth).then_some(GOAL)),
            judged(Spread::of(pairs().map(|[open, guarded]| guarded.cost / open.cost)), None),
        ]
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["", "SHOWN", "", "WITHOUT", "WITH", "× WITHOUT", "× PROCESSOR TIME"]);
        for work in WORKS {
            for server in [Server::Berth, Server::Distribution] {
                for way in Way::ALL {
                    let [without, with, share, cost] = self.cells(server, way, work);
                    if share != NOT_MEASURED {
                        let (work, way, server) = (work.title(), way.title(), server.title());
                        table.row([work.to_owned(), way.to_owned(), server.to_owned(), without, with, share, cost]);
                    }
                }
            }
        }
        write!(f, "{table}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_that_of_neighbours() {
        let mut outcome = Outcome::default();
        // The machine is twice as fast in the second round; the share is the same.
        for speed in [1.0, 2.0] {
            let mut round = Round::default();
            for (server, way, without, with) in [
                (Server::Berth, Way::Es256, 1000.0, 950.0),
                (Server::Berth, Way::Password, 1000.0, 800.0),
                (Server::Distribution, Way::Password, 100.0, 2.0),
            ] {
                let pair = [without, with].map(|rate| Sample { per_second: rate * speed, cost: 1.0 / rate / speed });
                round.measured(server, way, Work::ManifestByTag, pair);
            }
            outcome.add(round);
        }
        let share = |server, way| outcome.cells(server, way, Work::ManifestByTag)[2].clone();
        assert_eq!(outcome.cells(Server::Berth, Way::Password, Work::ManifestByTag)[3], "1.25 [1.25–1.25]");
        assert_eq!(share(Server::Berth, Way::Es256), "0.95 [0.95–0.95], goal 0.9 met");
        assert_eq!(share(Server::Berth, Way::Password), "0.80 [0.80–0.80], SHORT of 0.9");
        assert_eq!(share(Server::Distribution, Way::Password), "0.02 [0.02–0.02]");
        assert_eq!(share(Server::Distribution, Way::Issuer), NOT_MEASURED);
        assert_eq!(outcome.to_string().lines().count(), 4, "{outcome}");
    }
}
