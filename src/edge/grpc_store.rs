//! The remote store's gRPC service at its edge. Its protocol has its own heartbeats, bounds and
//! goodbyes, so that nothing rests on what only one of the two transports has.

use escapement_proto::store::store_service_server::StoreServiceServer;

use super::grpc::{Drained, Listener, ServeError, ServeOptions};
use crate::store::remote::StoreServer;

#[cfg(not(madsim))]
impl Listener {
    /// Serves a store until `shutdown` resolves; then says goodbye on its streams and waits
    /// for their ends.
    ///
    /// # Errors
    /// When the server stops by itself.
    pub async fn serve_store(
        self,
        store: StoreServer,
        options: ServeOptions,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<Drained, ServeError> {
        use tonic::transport::{Server, server::TcpIncoming};

        use super::grpc::runtime::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT};

        // Under way on one stream and on one connection: a large transaction need not wait.
        const WINDOW_BYTES: u32 = 8 << 20;

        let Self { socket, address } = self;
        let (stop, mut stopped) = tokio::sync::watch::channel(false);
        let service =
            StoreServiceServer::new(store.clone()).max_decoding_message_size(crate::store::remote::MESSAGE_BYTES_MAX);
        let server = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .add_service(service)
            .serve_with_incoming_shutdown(TcpIncoming::from(socket).with_nodelay(Some(true)), async move {
                let _ = stopped.wait_for(|stop| *stop).await;
            });
        let drain_over = async {
            shutdown.await;
            store.end_sessions();
            stop.send_replace(true);
            options.clock.sleep(options.drain_max).await;
        };
        let ended = tokio::select! {
            biased;
            ended = server => ended.map(|()| Drained::Complete),
            () = drain_over => Ok(Drained::LeftOpen),
        };
        ended.map_err(|source| ServeError { address, source })
    }
}

#[cfg(madsim)]
impl Listener {
    /// Serves a store until `shutdown` resolves; then says goodbye on its streams, which end
    /// by themselves.
    ///
    /// # Errors
    /// When the server stops by itself.
    pub async fn serve_store(
        self,
        store: StoreServer,
        options: ServeOptions,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<Drained, ServeError> {
        let Self { address } = self;
        let service = StoreServiceServer::new(store.clone());
        let server = tonic::transport::Server::builder().add_service(service).serve_with_shutdown(address, shutdown);
        server.await.map_err(|source| ServeError { address, source })?;
        store.end_sessions();
        options.clock.sleep(options.drain_max).await;
        Ok(Drained::LeftOpen)
    }
}
