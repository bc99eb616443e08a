//! How long a client waits: between streams, and between its signs of life.

use std::{
    net::TcpListener,
    sync::{Arc, Mutex},
    time::Duration,
};

use escapement::{
    clock::{Clock, SharedClock},
    edge::SystemClock,
    rng::Rng,
    store::{
        MemoryEngine,
        engine::Engine,
        remote::{RemoteEngine, RemoteOptions, ServerOptions},
    },
};
use escapement_engine::{Monotonic, Timestamp};
use futures_util::future::BoxFuture;

use super::{
    relay::Relay,
    world::{Served, clock, eventually, get, options},
};

/// The system's clock, which notes how long it is asked to wait.
#[derive(Debug)]
struct NotingClock {
    clock: SystemClock,
    asked: Mutex<Vec<Duration>>,
}

impl NotingClock {
    fn new() -> Arc<Self> {
        Arc::new(Self { clock: SystemClock::new(), asked: Mutex::default() })
    }

    /// The waits of at most `most`.
    fn asked(&self, most: Duration) -> Vec<Duration> {
        self.asked.lock().unwrap().iter().filter(|wait| **wait <= most).copied().collect()
    }
}

impl Clock for NotingClock {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn monotonic(&self) -> Monotonic {
        self.clock.monotonic()
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        self.asked.lock().unwrap().push(span);
        self.clock.sleep(span)
    }
}

fn start(address: std::net::SocketAddr, options: RemoteOptions, clock: &Arc<NotingClock>) -> RemoteEngine {
    let clock: SharedClock = Arc::<NotingClock>::clone(clock);
    RemoteEngine::start(&address.to_string(), options, clock, Rng::from_seed(7))
}

#[tokio::test]
async fn pauses_double_up_to_their_longest_with_jitter_and_begin_anew_after_a_welcome() {
    let (least, most) = (Duration::from_millis(8), Duration::from_millis(50));
    let options = RemoteOptions { backoff_min: least, backoff_max: most, ..options() };
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let clock = NotingClock::new();
    let client = start(address, options, &clock);
    eventually("ten tries", async || clock.asked(most).len() >= 10).await;
    let pauses = clock.asked(most);
    let whole = |failures: u32| (least * (1 << failures.min(16))).min(most);
    for (failures, pause) in (0..).zip(&pauses) {
        assert!((whole(failures) / 2..=whole(failures)).contains(pause), "pause {failures} of {pauses:?}");
    }
    assert!(pauses[3..].iter().any(|pause| *pause != pauses[3]), "no jitter in {pauses:?}");

    let engine = MemoryEngine::new(super::world::clock());
    let served = Served::start_with(Arc::new(engine), address, ServerOptions::default()).await;
    get(&client, "k").await;
    let before = clock.asked(most).len();
    served.stop().await;
    eventually("another try", async || clock.asked(most).len() > before).await;
    let first = clock.asked(most)[before];
    assert!(first <= least, "{first:?} after a stream that was welcome");
}

#[tokio::test]
async fn a_client_gives_signs_of_life_as_often_as_the_server_wants_them() {
    let silence_max = Duration::from_millis(400);
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new(clock()));
    let server_options = ServerOptions { silence_max, ..ServerOptions::default() };
    let served = Served::start_with(engine, "127.0.0.1:0".parse().unwrap(), server_options).await;
    let relay = Relay::start(served.address).await;
    let clock = NotingClock::new();
    // By itself it would say something every twelve minutes.
    let options = RemoteOptions { silence_max: Duration::from_secs(3600), ..options() };
    let client = start(relay.address, options, &clock);
    get(&client, "k").await;
    let beat = silence_max / 5;
    eventually("as many beats as the server bears silence, three times", async || clock.asked(beat).len() >= 15).await;
    get(&client, "k").await;
    assert_eq!(relay.connections(), 1, "it was not cut off");
}
