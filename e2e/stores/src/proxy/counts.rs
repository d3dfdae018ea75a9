//! How often what was asked and what was broken.

use std::collections::BTreeMap;
use std::fmt;

use http::Method;

use super::{Fault, Kind};

/// How often what was asked, broken requests included, and how often which fault struck.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    requests: BTreeMap<(String, Kind), u64>,
    faults: BTreeMap<Fault, u64>,
}

impl Counts {
    pub(super) fn request(&mut self, method: &Method, kind: Kind) {
        *self.requests.entry((method.as_str().to_owned(), kind)).or_default() += 1;
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Requests with this method of this kind.
    pub fn of(&self, method: &Method, kind: Kind) -> u64 {
        self.requests.get(&(method.as_str().to_owned(), kind)).copied().unwrap_or_default()
    }

    /// Requests with this method.
    pub fn of_method(&self, method: &Method) -> u64 {
        self.requests.iter().filter(|((name, _), _)| name == method.as_str()).map(|(_, count)| count).sum()
    }

    /// Requests of this kind.
    pub fn of_kind(&self, kind: Kind) -> u64 {
        self.requests.iter().filter(|((_, is), _)| *is == kind).map(|(_, count)| count).sum()
    }

    /// All requests.
    pub fn total(&self) -> u64 {
        self.requests.values().sum()
    }

    /// How often this fault struck.
    pub fn of_fault(&self, fault: Fault) -> u64 {
        self.faults.get(&fault).copied().unwrap_or_default()
    }

    /// How often any fault struck.
    pub fn faults(&self) -> u64 {
        self.faults.values().sum()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requests = self.requests.iter().map(|((method, kind), count)| format!("{method} {kind:?} {count}"));
        let faults = self.faults.iter().map(|(fault, count)| format!("{fault:?} {count}"));
        let all: Vec<String> = requests.chain(faults).collect();
        f.write_str(if all.is_empty() { "nothing" } else { "" })?;
        f.write_str(&all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_summed_by_method_and_by_kind() {
        let mut counts = Counts::default();
        assert_eq!(counts.to_string(), "nothing");
        for (method, kind) in [
            (Method::PUT, Kind::Object),
            (Method::GET, Kind::Object),
            (Method::GET, Kind::Listing),
            (Method::GET, Kind::Object),
        ] {
            counts.request(&method, kind);
        }
        counts.fault(Fault::SlowDown);
        assert_eq!(counts.of(&Method::GET, Kind::Object), 2);
        assert_eq!(counts.of(&Method::GET, Kind::Part), 0);
        assert_eq!(counts.of_method(&Method::GET), 3);
        assert_eq!(counts.of_kind(Kind::Object), 3);
        assert_eq!(counts.total(), 4);
        assert_eq!((counts.of_fault(Fault::SlowDown), counts.faults()), (1, 1));
        assert_eq!(counts.to_string(), "GET Listing 1, GET Object 2, PUT Object 1, SlowDown 1");
    }
}
