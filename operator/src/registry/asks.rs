//! [client] The questions to pods that are under way. No reconciliation waits for one for long: one that takes its time goes
//! on by itself, and a later reconciliation takes the answer.
//!
//! A pod that does not answer is nothing unusual: a NetworkPolicy may drop what is sent to it. Of the few reconciliations
//! that run at once none is to be held up by it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Semaphore, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use super::reach::{self, Answer, Asked};

/// How long the reconciliation that asks waits for an answer. Pods that are well take a few milliseconds.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How many Registries' pods are asked at once; the others wait for their turn.
const AT_ONCE: usize = 64;
/// How long an answer that nobody takes is kept: its Registry is gone.
const KEPT: Duration = Duration::from_secs(300);

/// The questions that are under way, and answers that nobody has taken yet.
pub struct Asks {
    running: Mutex<HashMap<String, Ask>>,
    room: Arc<Semaphore>,
}

struct Ask {
    pods: Vec<Asked>,
    since: Instant,
    answers: AbortOnDropHandle<Vec<Answer>>,
}

impl Default for Asks {
    fn default() -> Self {
        Self { running: Mutex::default(), room: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Asks {
    /// What the pods of the Registry of that uid answer, if they have within a moment. Otherwise they go on being asked, and
    /// the next call for the same pods takes the answer, if there is one by then.
    pub async fn ask(&self, uid: &str, pods: Vec<Asked>) -> Option<Vec<Answer>> {
        if pods.is_empty() {
            self.take(uid);
            return Some(Vec::new());
        }
        // What other pods would have said, or these when they were in another state, is no answer.
        let running = self.take(uid).filter(|ask| ask.pods == pods);
        let patience = if running.is_some() { Duration::ZERO } else { PATIENCE };
        let mut ask = running.unwrap_or_else(|| self.start(pods));
        match tokio::time::timeout(patience, &mut ask.answers).await {
            // A task that broke off has found out nothing.
            Ok(answers) => Some(answers.unwrap_or_default()),
            Err(_) => {
                self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), ask);
                None
            }
        }
    }

    fn start(&self, pods: Vec<Asked>) -> Ask {
        let (room, asked) = (Arc::clone(&self.room), pods.clone());
        let answers = tokio::spawn(async move {
            // The semaphore is never closed.
            let _turn = room.acquire_owned().await;
            reach::ask(asked).await
        });
        Ask { pods, since: Instant::now(), answers: AbortOnDropHandle::new(answers) }
    }

    /// Takes a question out, and those that nobody comes back for.
    fn take(&self, uid: &str) -> Option<Ask> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, ask| ask.since.elapsed() < KEPT);
        running.remove(uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// A pod that takes a connection and says nothing.
    async fn silent() -> (TcpListener, Vec<Asked>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, vec![Asked { pod: "main-1".to_owned(), address, ready: false }])
    }

    /// Lets time pass, and every task do what it does then.
    async fn pass(time: Duration) {
        tokio::time::advance(time).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_long_for_an_answer_and_it_is_taken_later() {
        let ((_listener, pods), asks) = (silent().await, Asks::default());
        let start = Instant::now();
        assert!(asks.ask("u", pods.clone()).await.is_none());
        assert!(asks.ask("u", pods.clone()).await.is_none());
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        pass(Duration::from_secs(12)).await;
        let answers = asks.ask("u", pods.clone()).await.unwrap();
        assert!(matches!(answers[0].told, Err(reach::Silence::Timeout)), "{answers:?}");
        // It is asked anew after that.
        assert!(asks.ask("u", pods).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn many_that_do_not_answer_hold_up_nobody() {
        let ((_listener, pods), asks) = (silent().await, Asks::default());
        let start = Instant::now();
        let uids: Vec<_> = (0..3 * AT_ONCE).map(|n| n.to_string()).collect();
        let all = futures::future::join_all(uids.iter().map(|uid| asks.ask(uid, pods.clone()))).await;
        assert!(all.iter().all(Option::is_none) && start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        assert_eq!(asks.room.available_permits(), 0);
        // Nobody comes back for them.
        pass(KEPT).await;
        assert!(asks.ask("other", Vec::new()).await.is_some_and(|answers| answers.is_empty()));
        assert!(asks.running.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_became_ready_is_asked_anew() {
        let ((_listener, mut pods), asks) = (silent().await, Asks::default());
        assert!(asks.ask("u", pods.clone()).await.is_none());
        pass(Duration::from_secs(12)).await;
        pods[0].ready = true;
        assert!(asks.ask("u", pods).await.is_none(), "the answer was of before");
    }
}
