//! The outcome: for each kind of work the median of each server, and the ratios of the rounds with their spread.

use std::collections::BTreeMap;
use std::fmt;

use crate::table::Table;

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Server {
    Berth,
    Distribution,
    Nginx,
}

impl Server {
    pub(super) fn title(self) -> &'static str {
        match self {
            Server::Berth => "Berth",
            Server::Distribution => "Distribution",
            Server::Nginx => "nginx",
        }
    }
}

/// What is asked of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Work {
    ManifestByTag,
    ManifestByDigest,
    SmallBlob,
    LargeBlob,
    Push,
}

impl Work {
    pub(super) const ALL: [Work; 5] =
        [Work::ManifestByTag, Work::ManifestByDigest, Work::SmallBlob, Work::LargeBlob, Work::Push];

    pub(super) fn title(self) -> &'static str {
        match self {
            Work::ManifestByTag => "manifest by tag",
            Work::ManifestByDigest => "manifest by digest",
            Work::SmallBlob => "1 KiB blob",
            Work::LargeBlob => "64 MiB blob",
            Work::Push => "256 MiB push",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Work::LargeBlob | Work::Push => "MiB/s",
            _ => "/s",
        }
    }

    /// The ratio to each of the others that Berth is built for.
    fn goal(self, other: Server) -> Option<f64> {
        match (self, other) {
            (Work::ManifestByTag | Work::ManifestByDigest, Server::Distribution) => Some(10.0),
            (Work::ManifestByTag | Work::ManifestByDigest, Server::Nginx) => Some(0.8),
            (Work::SmallBlob, Server::Distribution) => Some(40.0),
            (Work::LargeBlob, Server::Distribution | Server::Nginx) => Some(1.0),
            (Work::Push, Server::Distribution) => Some(2.0),
            _ => None,
        }
    }
}

/// What stands in the place of what was not measured.
pub(super) const NOT_MEASURED: &str = "–";

/// The share of what `sha256sum` alone reads that a push is built for.
const SHA256SUM_GOAL: f64 = 0.6;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    pub(super) per_second: f64,
    /// Processor time of the server for one answer or one MiB, in seconds.
    pub(super) cost: f64,
}

/// The outcome of one round.
#[derive(Debug, Clone, Default)]
pub(super) struct Round {
    samples: BTreeMap<(Work, Server), Sample>,
    /// In MiB a second.
    pub(super) sha256sum: f64,
}

impl Round {
    pub(super) fn measured(&mut self, server: Server, work: Work, sample: Sample) {
        self.samples.insert((work, server), sample);
    }

    fn per_second(&self, server: Server, work: Work) -> Option<f64> {
        self.samples.get(&(work, server)).map(|sample| sample.per_second)
    }
}

/// The outcome of all rounds.
#[derive(Debug, Clone, Default)]
pub(super) struct Report {
    rounds: Vec<Round>,
}

impl Report {
    pub(super) fn add(&mut self, round: Round) {
        self.rounds.push(round);
    }

    fn rate(&self, server: Server, work: Work) -> String {
        Spread::rate(self.rounds.iter().filter_map(|round| round.samples.get(&(work, server))), work)
    }

    fn ratio(&self, work: Work, other: Server) -> String {
        let ratios = self
            .rounds
            .iter()
            .filter_map(|round| Some(round.per_second(Server::Berth, work)? / round.per_second(other, work)?));
        judged(Spread::of(ratios), work.goal(other))
    }
}

pub(super) fn judged(spread: Option<Spread>, goal: Option<f64>) -> String {
    let Some(spread) = spread else { return NOT_MEASURED.to_owned() };
    let verdict = match goal {
        None => String::new(),
        Some(goal) if spread.median >= goal => format!(", goal {goal} met"),
        Some(goal) => format!(", SHORT of {goal}"),
    };
    format!("{spread}{verdict}")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["", "BERTH", "DISTRIBUTION", "NGINX", "× DISTRIBUTION", "× NGINX"]);
        for work in Work::ALL {
            table.row([
                work.title().to_owned(),
                self.rate(Server::Berth, work),
                self.rate(Server::Distribution, work),
                self.rate(Server::Nginx, work),
                self.ratio(work, Server::Distribution),
                self.ratio(work, Server::Nginx),
            ]);
        }
        writeln!(f, "{table}")?;
        let sums = Spread::of(self.rounds.iter().map(|round| round.sha256sum));
        if let Some(sums) = sums {
            let ratios = self
                .rounds
                .iter()
                .filter_map(|round| Some(round.per_second(Server::Berth, Work::Push)? / round.sha256sum));
            let ratio = judged(Spread::of(ratios), Some(SHA256SUM_GOAL));
            writeln!(f, "sha256sum alone reads {:.0} MiB/s; a push to Berth does × {ratio}", sums.median)?;
        }
        writeln!(
            f,
            "Median of {} rounds, in brackets the lowest and the highest; in parentheses the server's processor time for \
             one answer or one MiB.",
            self.rounds.len()
        )
    }
}

/// A median, and how far the rounds lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    median: f64,
    lowest: f64,
    highest: f64,
}

impl Spread {
    pub(super) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (lowest, highest) = (*values.first()?, *values.last()?);
        Some(Self { median: values[values.len() / 2], lowest, highest })
    }

    /// The rate, and in parentheses the processor time.
    pub(super) fn rate<'a>(samples: impl Iterator<Item = &'a Sample> + Clone, work: Work) -> String {
        let rate = Spread::of(samples.clone().map(|sample| sample.per_second));
        let cost = Spread::of(samples.map(|sample| sample.cost * 1e6));
        match (rate, cost) {
            (Some(rate), Some(cost)) => format!("{:.0} {} ({:.0} µs)", rate.median, work.unit(), cost.median),
            _ => NOT_MEASURED.to_owned(),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spread { median, lowest, highest } = self;
        write!(f, "{median:.2} [{lowest:.2}–{highest:.2}]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_those_of_a_round() {
        let mut report = Report::default();
        // The machine is three times as fast in the second round; the ratio is the same.
        for speed in [1.0, 3.0, 3.0] {
            let mut round = Round { sha256sum: 100.0 * speed, ..Round::default() };
            for (server, work, per_second, cost) in [
                (Server::Berth, Work::ManifestByTag, 2000.0, 1e-5),
                (Server::Distribution, Work::ManifestByTag, 100.0, 1e-3),
                (Server::Nginx, Work::ManifestByTag, 4000.0, 1e-5),
                (Server::Berth, Work::Push, 70.0, 0.0),
            ] {
                round.measured(server, work, Sample { per_second: per_second * speed, cost: cost / speed });
            }
            report.add(round);
        }
        assert_eq!(report.ratio(Work::ManifestByTag, Server::Distribution), "20.00 [20.00–20.00], goal 10 met");
        assert_eq!(report.ratio(Work::ManifestByTag, Server::Nginx), "0.50 [0.50–0.50], SHORT of 0.8");
        assert_eq!(report.ratio(Work::SmallBlob, Server::Nginx), "–");
        assert_eq!(report.rate(Server::Berth, Work::ManifestByTag), "6000 /s (3 µs)");
        assert!(report.to_string().contains("a push to Berth does × 0.70 [0.70–0.70], goal 0.6 met"), "{report}");
    }
}
