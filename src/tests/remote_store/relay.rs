//! A relay between client and server, which can be told to swallow, hold or cut.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::watch,
};

/// What happens to bytes in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// They go on.
    Pass,
    /// They stay, to go on later, as in a network that was cut and heals.
    Hold,
}

/// A relay. New connections begin as the newest setting says.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    /// To the server, by number of the connection (from 0); later ones pass.
    to_server: watch::Sender<Vec<Flow>>,
    to_client: watch::Sender<Vec<Flow>>,
    cuts: watch::Sender<usize>,
    connections: Arc<AtomicUsize>,
}

impl Relay {
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (to_server, to_client) = (watch::channel(Vec::new()).0, watch::channel(Vec::new()).0);
        let cuts = watch::channel(0).0;
        let connections = Arc::new(AtomicUsize::new(0));
        let (up, down, cut, count) =
            (to_server.subscribe(), to_client.subscribe(), cuts.subscribe(), Arc::clone(&connections));
        tokio::spawn(async move {
            for number in 0.. {
                let (client, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let Ok(server) = TcpStream::connect(server).await else { continue };
                // Earlier cuts are not this connection's.
                let mut cut = cut.clone();
                cut.mark_unchanged();
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::spawn(pump(from_client, to_server, number, up.clone(), cut.clone()));
                tokio::spawn(pump(from_server, to_client, number, down.clone(), cut));
            }
        });
        Self { address, to_server, to_client, cuts, connections }
    }

    /// Connections that were ever made through it.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Sets what happens to bytes towards the server on one connection.
    pub(crate) fn to_server(&self, connection: usize, flow: Flow) {
        set(&self.to_server, connection, flow);
    }

    /// Likewise towards the client.
    pub(crate) fn to_client(&self, connection: usize, flow: Flow) {
        set(&self.to_client, connection, flow);
    }

    /// Closes all connections that there are.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

fn set(flows: &watch::Sender<Vec<Flow>>, connection: usize, flow: Flow) {
    flows.send_modify(|flows| {
        let len = flows.len().max(connection + 1);
        flows.resize(len, Flow::Pass);
        flows[connection] = flow;
    });
}

/// Goes on reading from one that has hung up, so that what it had sent arrives.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: usize,
    mut flows: watch::Receiver<Vec<Flow>>,
    mut cuts: watch::Receiver<usize>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = tokio::select! {
            biased;
            _ = cuts.changed() => return,
            read = from.read(&mut buffer) => read.unwrap_or(0),
        };
        let passes = |flows: &Vec<Flow>| flows.get(number).is_none_or(|flow| *flow == Flow::Pass);
        tokio::select! {
            biased;
            _ = cuts.changed() => return,
            open = flows.wait_for(passes) => if open.is_err() { return },
        }
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
