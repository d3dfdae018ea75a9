//! Whether the registry can do its work: what is looked at from time to time, and what the last looks have found.
//!
//! While a check fails, every request of the API is answered with 503, as CNCF Distribution does: a load balancer in front
//! then asks somebody else. What is looked at, and how, stands in [`look`].

mod fetch;
mod look;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use berth_config::shown_address;
use futures::future::join_all;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

pub(crate) use fetch::redirected;
use look::Look;

use crate::reach::Reach;

/// What is looked at where the configuration says no interval: as often as Distribution does.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
/// Looking more often than this would only keep the machine busy.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// How often the log has another reason of a check that goes on failing: some reasons hold the number of a request.
const REASON_PAUSE: Duration = Duration::from_secs(60);

/// The checks of a registry.
#[derive(Debug, Default)]
pub struct Health {
    checks: Vec<Check>,
    /// How many of them fail: what every request asks.
    failing: AtomicUsize,
}

/// One thing that is looked at.
#[derive(Debug)]
struct Check {
    /// As `/debug/health` has it.
    name: String,
    look: Look,
    interval: Duration,
    /// How many looks in a row must fail.
    threshold: u32,
    found: Mutex<Found>,
}

/// What the last looks have found.
#[derive(Debug, Default)]
struct Found {
    failures: u32,
    reason: String,
    is_failing: bool,
    /// When the log was told of it.
    told: Option<Instant>,
}

impl Found {
    /// One failure more, of a check that fails from the `threshold`th on; whether the log is to be told.
    fn fail(&mut self, reason: String, threshold: u32, now: Instant) -> bool {
        let (was_failing, is_other) = (self.is_failing, self.reason != reason);
        self.failures = self.failures.saturating_add(1);
        self.is_failing = self.failures >= threshold.max(1);
        self.reason = reason;
        let is_new = self.failures == 1 || self.is_failing != was_failing;
        let is_due = self.told.is_none_or(|told| now.duration_since(told) >= REASON_PAUSE);
        let tells = is_new || (is_other && is_due);
        if tells {
            self.told = Some(now);
        }
        tells
    }
}

impl Health {
    /// Nothing is looked at.
    #[must_use]
    pub fn new() -> Self {
        Health::default()
    }

    /// The checks that a configuration asks for; good until a look says otherwise.
    ///
    /// # Errors
    /// Names the key of a check that cannot be made, or that is there twice.
    pub(crate) fn of(settings: &berth_config::Health, reach: Arc<Reach>) -> Result<Self> {
        let berth_config::Health { storagedriver, file, http, tcp } = settings;
        let mut checks = Vec::new();
        if storagedriver.enabled {
            let (interval, threshold) = (storagedriver.interval, storagedriver.threshold);
            let name = format!("storagedriver_{}", reach.store().driver());
            checks.push(Check::new(name, Look::Store(reach), interval, threshold));
        }
        for settings in file {
            let name = settings.file.display().to_string();
            let look = Look::Absent(settings.file.clone());
            checks.push(Check::new(name, look, settings.interval, settings.threshold));
        }
        for (at, settings) in http.iter().enumerate() {
            let look = Look::http(&format!("health.http.{at}"), settings)?;
            let mut name = shown_address(&settings.uri);
            // What tells them apart is hidden.
            if http.iter().any(|other| other.uri != settings.uri && shown_address(&other.uri) == name) {
                name = format!("{name} (health.http.{at})");
            }
            checks.push(Check::new(name, look, settings.interval, settings.threshold));
        }
        for settings in tcp {
            let look = Look::Tcp { address: settings.addr.clone(), patience: look::patience(settings.timeout) };
            checks.push(Check::new(settings.addr.clone(), look, settings.interval, settings.threshold));
        }
        let mut names = BTreeSet::new();
        for check in &checks {
            ensure!(names.insert(&check.name), "health: {:?} is looked at by two checks: keep one", check.name);
        }
        Ok(Health { checks, failing: AtomicUsize::new(0) })
    }

    /// Whether requests can be answered.
    ///
    /// # Errors
    /// What is to be told to the client; the reasons are for those who can reach the debug port.
    pub fn check(&self) -> Result<(), String> {
        match self.failing.load(Ordering::Relaxed) {
            0 => Ok(()),
            _ => Err("health check failed: please see /debug/health".to_owned()),
        }
    }

    /// Each failed check with its reason, for `/debug/health`.
    #[must_use]
    pub fn failures(&self) -> BTreeMap<String, String> {
        let found = |check: &Check| {
            let found = check.found.lock().unwrap_or_else(PoisonError::into_inner);
            found.is_failing.then(|| (check.name.clone(), found.reason.clone()))
        };
        self.checks.iter().filter_map(found).collect()
    }

    /// The store cannot be used yet, which the next look may change: no request is answered until then.
    pub(crate) fn doubt_store(&self, reason: &str) {
        for check in self.checks.iter().filter(|check| matches!(check.look, Look::Store(_))) {
            for _ in 0..check.threshold.max(1) {
                self.note(check, Err(reason.to_owned()));
            }
        }
    }

    /// The store can be used at last, which the next look might find only later.
    pub(crate) fn trust_store(&self) {
        for check in self.checks.iter().filter(|check| matches!(check.look, Look::Store(_))) {
            self.note(check, Ok(()));
        }
    }

    /// Takes the outcome of one look.
    fn note(&self, check: &Check, outcome: Result<(), String>) {
        let mut found = check.found.lock().unwrap_or_else(PoisonError::into_inner);
        let was_failing = found.is_failing;
        match outcome {
            Ok(()) => {
                if found.failures > 0 {
                    tracing::info!(check = check.name, "a health check succeeds again");
                }
                *found = Found::default();
            }
            Err(reason) => {
                if found.fail(reason, check.threshold, Instant::now()) {
                    let Found { failures, is_failing, reason, .. } = &*found;
                    tracing::warn!(check = check.name, reason, failures, is_failing, "a health check failed");
                }
            }
        }
        if found.is_failing && !was_failing {
            self.failing.fetch_add(1, Ordering::Relaxed);
        } else if was_failing && !found.is_failing {
            self.failing.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Check {
    fn new(name: String, look: Look, interval: berth_config::Duration, threshold: u32) -> Self {
        let interval = match interval.as_std() {
            Duration::ZERO => DEFAULT_INTERVAL,
            interval => interval.max(MIN_INTERVAL),
        };
        Check { name, look, interval, threshold, found: Mutex::default() }
    }
}

/// Looks at everything until `stop`, each check on its own: a slow one holds up no other.
pub(crate) async fn watch(health: Arc<Health>, stop: CancellationToken) {
    let looking = join_all(health.checks.iter().map(|check| async {
        let mut ticks = tokio::time::interval(check.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            health.note(check, check.look.look().await);
        }
    }));
    tokio::select! {
        () = stop.cancelled() => {}
        _ = looking => {}
    }
}

#[cfg(test)]
mod tests {
    use berth_storage::Memory;

    use super::*;

    fn settings(yaml: &str) -> berth_config::Health {
        let text = format!("version: 0.1\nstorage: inmemory\nhealth: {yaml}\n");
        berth_config::Config::load(&text, Vec::new()).unwrap().config.health
    }

    fn health(yaml: &str) -> Result<Health> {
        Health::of(&settings(yaml), Arc::new(Reach::new(Arc::new(Memory::new()))))
    }

    #[test]
    fn as_many_failures_in_a_row_as_the_threshold_says() {
        let health = health("{storagedriver: {enabled: true, threshold: 2}, file: [{file: /gone}]}").unwrap();
        let names: Vec<&str> = health.checks.iter().map(|check| check.name.as_str()).collect();
        assert_eq!(names, ["storagedriver_inmemory", "/gone"]);
        let [store, file] = &health.checks[..] else { panic!("{names:?}") };
        let fail = |check: &Check| health.note(check, Err("gone".to_owned()));
        fail(store);
        assert!(health.check().is_ok());
        health.note(store, Ok(()));
        fail(store);
        assert!(health.check().is_ok(), "a good look in between starts the count anew");
        fail(store);
        fail(store);
        assert!(health.check().is_err());
        let failure = |check: &Check| (check.name.clone(), "gone".to_owned());
        assert_eq!(health.failures(), BTreeMap::from([failure(store)]));
        fail(file);
        health.note(store, Ok(()));
        assert_eq!(health.failures(), BTreeMap::from([failure(file)]));
        assert!(health.check().is_err(), "the other one fails still");
        health.note(file, Ok(()));
        assert!(health.check().is_ok());
        assert!(health.failures().is_empty());
    }

    #[test]
    fn the_log_is_told_of_what_is_new_and_of_other_reasons_now_and_then() {
        let (mut found, start) = (Found::default(), Instant::now());
        let told: Vec<bool> = [("a", 0), ("a", 1), ("b", 2), ("c", 59), ("c", 61), ("d", 62), ("d", 122), ("e", 123)]
            .map(|(reason, seconds)| found.fail(reason.to_owned(), 2, start + Duration::from_secs(seconds)))
            .to_vec();
        assert_eq!(told, [true, true, false, false, false, true, false, true]);
        assert_eq!((found.failures, found.reason.as_str(), found.is_failing), (8, "e", true));
    }

    #[test]
    fn what_lets_somebody_in_is_no_part_of_a_name() {
        let settings = settings("{http: [{uri: \"http://me:pass@a:1/?t=1\"}, {uri: \"http://me:pass@a:1/?t=2\"}]}");
        let health = Health::of(&settings, Arc::new(Reach::new(Arc::new(Memory::new())))).unwrap();
        let names: Vec<_> = health.checks.iter().map(|check| check.name.as_str()).collect();
        let shown = "http://<hidden>@a:1/?<hidden>";
        let expected =
            ["storagedriver_inmemory".into(), format!("{shown} (health.http.0)"), format!("{shown} (health.http.1)")];
        assert_eq!(names, expected);
    }

    /// What the configuration itself refuses is tried as well: the operator builds one without reading it.
    #[test]
    fn a_check_that_cannot_be_made_is_named() {
        type Change = fn(&mut berth_config::Health);
        let cases: [(Change, &str); 5] = [
            (|it| it.http[0].uri = "ftp://a".into(), "health.http.0.uri"),
            (|it| it.http[1].uri = "nowhere".into(), "health.http.1.uri"),
            (|it| it.http[0].statuscode = 99, "health.http.0.statuscode"),
            (
                |it| drop(it.http[0].headers.insert("x y".into(), vec![berth_config::Secret::new("1".into())])),
                "headers",
            ),
            (|it| it.http[1].uri = it.http[0].uri.clone(), "two checks"),
        ];
        for (change, said) in cases {
            let mut settings = settings("{http: [{uri: \"http://a:1/\"}, {uri: \"http://b:1/\"}]}");
            change(&mut settings);
            let refused =
                format!("{:#}", Health::of(&settings, Arc::new(Reach::new(Arc::new(Memory::new())))).unwrap_err());
            assert!(refused.contains(said), "{said}: {refused}");
        }
    }
}
