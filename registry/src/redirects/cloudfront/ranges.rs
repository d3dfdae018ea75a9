//! [pure] The addresses that are inside of AWS, as AWS publishes them (`ip-ranges.json`).

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Deserialize;

/// Ranges of addresses, from the first to the last of each, in order and without overlap.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

/// What a document says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) ranges: Ranges,
    /// How many of its entries are no ranges.
    pub(super) ignored: usize,
    /// The regions that were asked for and have none.
    pub(super) absent: Vec<String>,
}

/// Why a document says nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum RangesError {
    /// It is something else.
    #[error("it is no list of ranges: {0}")]
    Form(#[from] serde_json::Error),
    /// There is no range in it.
    #[error("it has no range of addresses in it")]
    Empty,
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow, default)]
    prefixes: Vec<Entry<'a>>,
    #[serde(borrow, default)]
    ipv6_prefixes: Vec<Entry<'a>>,
}

/// A network and where it is, as in `{"ip_prefix": "3.5.140.0/22", "region": "ap-northeast-2", …}`.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    ip_prefix: Option<Cow<'a, str>>,
    #[serde(borrow)]
    ipv6_prefix: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    region: Cow<'a, str>,
}

impl Ranges {
    /// The ranges of a document that are in one of the regions, or all where none is named.
    ///
    /// # Errors
    /// [`RangesError`] when it is no such document, or has no range at all.
    pub(super) fn parse(document: &[u8], regions: &[String]) -> Result<Published, RangesError> {
        let Document { prefixes, ipv6_prefixes } = serde_json::from_slice(document)?;
        let (mut v4, mut v6, mut ignored, mut known) = (Vec::new(), Vec::new(), 0, 0_usize);
        let mut found = vec![false; regions.len()];
        for Entry { ip_prefix, ipv6_prefix, region } in prefixes.iter().chain(&ipv6_prefixes) {
            let Some(network) = ip_prefix.as_ref().or(ipv6_prefix.as_ref()).and_then(|text| network(text)) else {
                ignored += 1;
                continue;
            };
            known += 1;
            let at = regions.iter().position(|wanted| wanted.eq_ignore_ascii_case(region));
            if let Some(at) = at {
                found[at] = true;
            }
            if at.is_none() && !regions.is_empty() {
                continue;
            }
            match network {
                Network::V4(first, last) => v4.push((first, last)),
                Network::V6(first, last) => v6.push((first, last)),
            }
        }
        if known == 0 {
            return Err(RangesError::Empty);
        }
        let absent = regions.iter().zip(found).filter(|(_, found)| !found).map(|(region, _)| region.clone());
        Ok(Published { ranges: Ranges { v4: merged(v4), v6: merged(v6) }, ignored, absent: absent.collect() })
    }

    /// Whether an address is in one of them.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => is_in(&self.v4, address.to_bits()),
            IpAddr::V6(address) => is_in(&self.v6, address.to_bits()),
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.v4.len() + self.v6.len()
    }
}

/// The first and the last address of a network.
enum Network {
    V4(u32, u32),
    V6(u128, u128),
}

/// A network in the notation of RFC 4632 and RFC 4291. Bits behind the prefix are passed over, as Go does.
fn network(text: &str) -> Option<Network> {
    let (address, length) = text.split_once('/')?;
    let length: u32 = length.parse().ok()?;
    match address.parse().ok()? {
        IpAddr::V4(address) if length <= Ipv4Addr::BITS => {
            let hosts = u32::MAX.checked_shr(length).unwrap_or(0);
            Some(Network::V4(address.to_bits() & !hosts, address.to_bits() | hosts))
        }
        IpAddr::V6(address) if length <= Ipv6Addr::BITS => {
            let hosts = u128::MAX.checked_shr(length).unwrap_or(0);
            Some(Network::V6(address.to_bits() & !hosts, address.to_bits() | hosts))
        }
        _ => None,
    }
}

/// The same addresses, in order and each once: what a search by halves needs.
fn merged<T: Copy + Ord>(mut ranges: Vec<(T, T)>) -> Vec<(T, T)> {
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let overlap = next.0 <= kept.1;
        if overlap {
            kept.1 = kept.1.max(next.1);
        }
        overlap
    });
    ranges.shrink_to_fit();
    ranges
}

fn is_in<T: Copy + Ord>(ranges: &[(T, T)], address: T) -> bool {
    let behind = ranges.partition_point(|(first, _)| *first <= address);
    behind.checked_sub(1).is_some_and(|at| address <= ranges[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"{
        "syncToken": "1764000000", "createDate": "2026-11-24-16-00-00",
        "prefixes": [
            {"ip_prefix": "52.94.76.0/22", "region": "us-west-2", "service": "AMAZON", "network_border_group": "us-west-2"},
            {"ip_prefix": "3.5.140.7/22", "region": "ap-northeast-2", "service": "AMAZON"},
            {"ip_prefix": "3.5.140.0/23", "region": "ap-northeast-2", "service": "S3"},
            {"ip_prefix": "3.5.142.0/22", "region": "GLOBAL", "service": "EC2"},
            {"ip_prefix": "15.0.0.1/32", "region": "eu-central-1"},
            {"ip_prefix": "15.0.0.0/33", "region": "eu-central-1"},
            {"ip_prefix": "nothing", "region": "eu-central-1"},
            {"region": "eu-central-1"}
        ],
        "ipv6_prefixes": [
            {"ipv6_prefix": "2600:1f14::/35", "region": "us-west-2", "service": "EC2"},
            {"ipv6_prefix": "2a05:d000:8000::/40", "region": "EU-CENTRAL-1", "service": "EC2"}
        ]
    }"#;

    #[test]
    fn an_address_is_inside_or_not() {
        fn check(regions: &[&str], inside: &[&str], outside: &[&str]) {
            let regions: Vec<String> = regions.iter().map(|&region| region.to_owned()).collect();
            let Published { ranges, ignored, absent } = Ranges::parse(DOCUMENT.as_bytes(), &regions).unwrap();
            assert_eq!((ignored, absent), (3, Vec::new()), "{regions:?}");
            for (addresses, expected) in [(inside, true), (outside, false)] {
                for address in addresses {
                    assert_eq!(ranges.contains(address.parse().unwrap()), expected, "{regions:?} {address}");
                }
            }
        }
        let pacific = ["52.94.76.0", "52.94.79.255", "2600:1f14::1", "2600:1f14:1fff:ffff:ffff:ffff:ffff:ffff"];
        let korea = ["3.5.140.0", "3.5.141.9", "3.5.143.255", "::ffff:3.5.140.7"];
        let frankfurt = ["15.0.0.1", "2a05:d000:8000::", "2a05:d000:80ff:ffff:ffff:ffff:ffff:ffff"];
        let nowhere =
            ["52.94.75.255", "52.94.80.0", "3.5.139.255", "15.0.0.0", "15.0.0.2", "0.0.0.0", "255.255.255.255"];
        let nowhere_6 = ["2600:1f14:2000::", "2a05:d000:8100::", "::", "::1", "2600:1f13:ffff::", "::3.5.140.7"];
        let nowhere = [nowhere.as_slice(), &nowhere_6].concat();
        check(&[], &[pacific.as_slice(), &korea, &frankfurt].concat(), &nowhere);
        // 3.5.142.0/22 holds all of 3.5.140.0 to 3.5.143.255, whatever its bits behind the prefix.
        check(&["us-west-2"], &pacific, &[nowhere.as_slice(), &korea, &frankfurt].concat());
        check(&["GLOBAL"], &korea, &[nowhere.as_slice(), &pacific, &frankfurt].concat());
        let both = ["eu-central-1", "us-west-2"];
        check(&both, &[pacific.as_slice(), &frankfurt].concat(), &[nowhere.as_slice(), &korea].concat());
    }

    #[test]
    fn whole_families_and_neighbours() {
        let parse = |prefixes: &str| {
            let entries: Vec<String> =
                prefixes.split(' ').map(|prefix| format!(r#"{{"ip_prefix":"{prefix}"}}"#)).collect();
            Ranges::parse(format!(r#"{{"prefixes":[{}]}}"#, entries.join(",")).as_bytes(), &[]).unwrap().ranges
        };
        let all = parse("::/0 0.0.0.0/0 10.0.0.0/8");
        assert_eq!(all, Ranges { v4: vec![(0, u32::MAX)], v6: vec![(0, u128::MAX)] });
        assert!(all.contains("255.255.255.255".parse().unwrap()) && all.contains("ffff::1".parse().unwrap()));
        let small = parse("10.0.0.2/32 10.0.0.0/32 10.0.0.0/31");
        assert_eq!(small.count(), 2);
        let inside: Vec<bool> = (0..4).map(|last| small.contains([10, 0, 0, last].into())).collect();
        assert_eq!(inside, [true, true, true, false]);
        assert!(!Ranges::default().contains("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_list_of_ranges_is_refused() {
        for (text, expected) in [
            ("", "it is no list of ranges: "),
            ("<html>", "it is no list of ranges: "),
            (r#"{"prefixes": 1}"#, "it is no list of ranges: "),
            ("{}", "it has no range of addresses in it"),
            (r#"{"prefixes": [{"ip_prefix": "x"}]}"#, "it has no range of addresses in it"),
        ] {
            let error = Ranges::parse(text.as_bytes(), &[]).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_region_that_has_nothing_is_named() {
        let regions = ["us-west-2".to_owned(), "use-east-2".to_owned()];
        let published = Ranges::parse(DOCUMENT.as_bytes(), &regions).unwrap();
        assert_eq!(published.absent, ["use-east-2"]);
        assert_eq!(published.ranges.count(), 2);
    }
}
