//! The end of a child process, seen before it is reaped.

use std::io;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// Resolves once the child has ended, and leaves it a zombie: until somebody waits for it, neither
/// its id nor that of its process group can become another's.
///
/// # Errors
/// It is no child of this process, was reaped already, or signals cannot be listened for.
pub(crate) async fn ended(child: Pid) -> io::Result<()> {
    // Listens before it looks, so that no end falls between.
    let mut news = News::listen()?;
    let how = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    while waitid(WaitId::Pid(child), how)?.is_none() {
        news.next().await;
    }
    Ok(())
}

/// Tells that some child may have ended.
#[cfg(not(madsim))]
struct News(tokio::signal::unix::Signal);

#[cfg(not(madsim))]
impl News {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        Ok(Self(signal(SignalKind::child())?))
    }

    async fn next(&mut self) {
        self.0.recv().await;
    }
}

/// The simulator has no processes.
#[cfg(madsim)]
struct News;

#[cfg(madsim)]
impl News {
    fn listen() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn next(&mut self) {
        std::future::pending().await
    }
}
