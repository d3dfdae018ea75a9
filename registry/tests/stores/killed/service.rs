//! One address before several replicas, as a Service is: each connection goes to the next one that accepts.
//!
//! It counts what clients send, and kills a replica at the bytes that it was told. Who was killed is started again at
//! once; until it is back, nobody else is killed: what would bring a Service to its next kill waits.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::replica::{Replica, configuration};
use crate::bench::Bench;

/// How much is passed on at once, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// When a replica is killed: as soon as so many bytes have come altogether, by the next that come to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kill {
    /// Which one; none is whichever they come to.
    pub(super) replica: Option<usize>,
    pub(super) at: u64,
}

pub(super) struct Service {
    address: SocketAddr,
    directory: tempfile::TempDir,
    state: Mutex<State>,
    /// Whether all replicas are there.
    whole: watch::Sender<bool>,
}

struct State {
    places: Vec<Place>,
    /// Who gets the next connection.
    next: usize,
    carried: u64,
    kills: VecDeque<Kill>,
}

/// A replica, and what was of the processes before.
#[derive(Default)]
struct Place {
    replica: Option<Replica>,
    peaks: Vec<u64>,
}

impl Service {
    /// Starts so many replicas, which will be killed one after the other.
    pub(super) async fn start(bench: &Bench, replicas: usize, kills: impl Iterator<Item = Kill>) -> Arc<Self> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("config.yml"), configuration(bench)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let places = (0..replicas).map(|_| Place::default()).collect();
        let service = Arc::new(Service {
            address: listener.local_addr().unwrap(),
            directory,
            state: Mutex::new(State { places, next: 0, carried: 0, kills: kills.collect() }),
            whole: watch::Sender::new(false),
        });
        futures::future::join_all((0..replicas).map(|place| service.clone().fill(place))).await;
        let accepting = service.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().serve(client));
            }
        });
        service
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often each replica has been killed.
    pub(super) fn kills(&self) -> Vec<usize> {
        self.state().places.iter().map(|place| place.peaks.len()).collect()
    }

    pub(super) fn kills_left(&self) -> usize {
        self.state().kills.len()
    }

    /// The most memory of each process of each replica, in bytes; the last one of each still runs.
    pub(super) fn peaks(&self) -> Vec<Vec<u64>> {
        let of = |Place { replica, peaks }: &Place| {
            peaks.iter().copied().chain(replica.as_ref().map(Replica::peak_bytes)).collect()
        };
        self.state().places.iter().map(of).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Starts the replica of a place.
    async fn fill(self: Arc<Self>, place: usize) {
        let path = self.directory.path().join("config.yml");
        let replica = tokio::task::spawn_blocking(move || Replica::start(&path)).await.unwrap();
        let is_whole = {
            let mut state = self.state();
            state.places[place].replica = Some(replica);
            state.places.iter().all(|place| place.replica.is_some())
        };
        self.whole.send_replace(is_whole);
    }

    /// A connection of a client. Where nobody accepts, it is closed.
    async fn serve(self: Arc<Self>, client: TcpStream) {
        let Some((place, server)) = self.connect().await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let ((mut from_client, mut to_client), (mut from_server, to_server)) =
            (client.into_split(), server.into_split());
        let up = async {
            let (mut piece, mut to_server) = (vec![0; PIECE_BYTES], to_server);
            loop {
                let count = from_client.read(&mut piece).await?;
                if count == 0 {
                    return Ok::<(), std::io::Error>(());
                }
                to_server.write_all(&piece[..count]).await?;
                self.carried(place, count as u64).await;
            }
        };
        // The end of one direction is that of the connection: no client here says that it has said everything.
        tokio::select! {
            _ = up => {}
            _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
        }
    }

    async fn connect(&self) -> Option<(usize, TcpStream)> {
        let places: Vec<(usize, SocketAddr)> = {
            let mut state = self.state();
            let (count, first) = (state.places.len(), state.next);
            state.next += 1;
            let in_turn = (0..count).map(|at| (first + at) % count);
            in_turn.filter_map(|at| Some((at, state.places[at].replica.as_ref()?.address))).collect()
        };
        for (place, address) in places {
            if let Ok(server) = TcpStream::connect(address).await {
                return Some((place, server));
            }
        }
        None
    }

    /// Counts what has come to a replica, and kills it if it is time.
    async fn carried(self: &Arc<Self>, place: usize, bytes: u64) {
        self.state().carried += bytes;
        while self.is_due() {
            // Ends only with the service itself.
            let _ = self.whole.subscribe().wait_for(|is_whole| *is_whole).await;
            let mut state = self.state();
            let carried = state.carried;
            let is_meant = |kill: &Kill| kill.at <= carried && kill.replica.is_none_or(|replica| replica == place);
            if !state.kills.front().is_some_and(is_meant) {
                return;
            }
            // Somebody else may have killed one while this waited.
            if state.places.iter().any(|place| place.replica.is_none()) {
                continue;
            }
            state.kills.pop_front();
            let Some(replica) = state.places[place].replica.take() else { return };
            state.places[place].peaks.push(replica.peak_bytes());
            self.whole.send_replace(false);
            drop(replica);
            tokio::spawn(self.clone().fill(place));
            return;
        }
    }

    fn is_due(&self) -> bool {
        let state = self.state();
        state.kills.front().is_some_and(|kill| kill.at <= state.carried)
    }
}
