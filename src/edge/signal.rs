//! Signals of the operating system: the operator's wish that this process end, and the news that
//! a child has ended.

#[cfg(feature = "exec")]
pub(crate) use system::Children;

/// Resolves at the first SIGTERM or SIGINT (in the simulator: at the node's ctrl-c). When
/// the signals cannot be listened for, it never resolves and says so once in the log.
///
/// From the first call on, these signals no longer end the process by themselves.
pub async fn shutdown_signal() {
    if let Err(error) = system::wait_for_shutdown().await {
        tracing::error!(%error, "cannot listen for SIGTERM and SIGINT");
        std::future::pending::<()>().await;
    }
}

#[cfg(not(madsim))]
mod system {
    use std::io;

    use tokio::signal::unix::{SignalKind, signal};

    pub(super) async fn wait_for_shutdown() -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    }

    /// Tells that some child may have ended.
    #[cfg(feature = "exec")]
    pub(crate) struct Children(tokio::signal::unix::Signal);

    #[cfg(feature = "exec")]
    impl Children {
        pub(crate) fn listen() -> io::Result<Self> {
            Ok(Self(signal(SignalKind::child())?))
        }

        pub(crate) async fn next(&mut self) {
            self.0.recv().await;
        }
    }
}

/// The simulator has no processes.
#[cfg(madsim)]
mod system {
    use std::io;

    pub(super) async fn wait_for_shutdown() -> io::Result<()> {
        tokio::signal::ctrl_c().await
    }

    #[cfg(feature = "exec")]
    pub(crate) struct Children;

    #[cfg(feature = "exec")]
    impl Children {
        pub(crate) fn listen() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(crate) async fn next(&mut self) {
            std::future::pending().await
        }
    }
}
