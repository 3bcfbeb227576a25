//! The window of an HTTP/2 connection: what its client may send before anybody reads it.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::budget::{Budget, Window};

/// A connection's window is at most this, in bytes: over longer distances than it serves at 1 Gbit/s, pushes are slower.
pub(super) const LARGEST: u64 = 6 << 20;
/// What each upload that is under way opens. What is on its way here while the registry is the slower side only waits, and
/// leaves the processor's caches meanwhile, so that larger windows make uploads dearer.
const OF_ONE: u64 = 1 << 20;
/// A shorter silence says nothing of the way to the client: what one upload opens is 1 GB/s then.
const FAR: Duration = Duration::from_millis(1);

/// The window that a connection's uploads share beyond what the protocol gives every connection. Empty until the first
/// upload is let in, it grows with the uploads that are under way at the same time, since one whose registry pauses leaves
/// the others what it does not fill, and while it is too small for the way to the client (see [`Growth`]). It is the
/// connection's until its end, since what was promised cannot be taken back.
#[derive(Debug, Default)]
pub(super) struct ClientWindow {
    granted: Mutex<Vec<Window>>,
    changed: Notify,
    uploads: AtomicU64,
}

impl ClientWindow {
    /// Doubles the window, up to [`LARGEST`] and as far as the budget allows this client.
    fn grow(&self, budget: &Arc<Budget>, client: IpAddr) {
        // Where there was no memory for it at first, there may be now.
        self.widen(budget, client, (2 * self.size()).max(OF_ONE));
    }

    /// Several uploads may do it at once: none is granted what another has made needless.
    fn widen(&self, budget: &Arc<Budget>, client: IpAddr, target: u64) {
        let mut granted = self.granted();
        let before = granted.len();
        while let missing @ 1.. = target.min(LARGEST).saturating_sub(size(&granted)) {
            let Some(part) = budget.window(client, missing) else { break };
            granted.push(part);
        }
        if granted.len() > before {
            self.changed.notify_one();
        }
    }

    /// In bytes.
    fn size(&self) -> u64 {
        size(&self.granted())
    }

    /// The window's size, when it has changed.
    pub(super) async fn changed(&self) -> u32 {
        self.changed.notified().await;
        u32::try_from(self.size().min(LARGEST)).unwrap_or(u32::MAX >> 1)
    }

    fn granted(&self) -> MutexGuard<'_, Vec<Window>> {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size(granted: &[Window]) -> u64 {
    granted.iter().map(Window::size).sum()
}

/// An upload's part in its connection's window: tells from how it comes in whether that is too small for the way to the
/// client.
///
/// A client that must hear of more window after each windowful sends it at once and is silent for a round trip. One that
/// is slow itself may look alike; its window grows, too, and is then of no use.
#[derive(Debug)]
pub(super) struct Growth<'a> {
    window: &'a ClientWindow,
    budget: &'a Arc<Budget>,
    client: IpAddr,
    since: Instant,
    /// What has come since then, in bytes.
    came: u64,
    /// For how long the client was silent since then, all silences of [`FAR`] and more together.
    silent: Duration,
}

impl<'a> Growth<'a> {
    /// Opens the window as far as the budget allows this client.
    pub(super) fn new(window: &'a ClientWindow, budget: &'a Arc<Budget>, client: IpAddr) -> Self {
        let uploads = window.uploads.fetch_add(1, Ordering::Relaxed) + 1;
        window.widen(budget, client, uploads.saturating_mul(OF_ONE));
        Self { window, budget, client, since: Instant::now(), came: 0, silent: Duration::ZERO }
    }

    /// The body is read from now on.
    pub(super) fn begins(&mut self) {
        (self.since, self.came, self.silent) = (Instant::now(), 0, Duration::ZERO);
    }

    /// The client was silent for so long, although it was listened to.
    pub(super) fn silence(&mut self, time: Duration) {
        if time >= FAR {
            self.silent += time;
        }
    }

    /// So much has come.
    pub(super) fn came(&mut self, bytes: usize) {
        self.came += u64::try_from(bytes).unwrap_or(u64::MAX);
        if self.came < self.window.size() {
            return;
        }
        if !self.silent.is_zero() && self.silent >= self.since.elapsed() / 2 {
            self.window.grow(self.budget, self.client);
        }
        self.begins();
    }
}

impl Drop for Growth<'_> {
    fn drop(&mut self) {
        self.window.uploads.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{sleep, timeout};

    use super::*;

    fn budget() -> Arc<Budget> {
        Arc::new(Budget::new(512 << 20))
    }

    fn client() -> IpAddr {
        IpAddr::from([192, 0, 2, 1])
    }

    #[tokio::test]
    async fn a_window_grows_up_to_its_limit_and_is_given_back() {
        let (budget, window) = (budget(), ClientWindow::default());
        let first = Growth::new(&window, &budget, client());
        assert_eq!(window.changed().await, 1 << 20);
        for size in [2 << 20, 4 << 20, 6 << 20] {
            window.grow(&budget, client());
            assert_eq!((window.changed().await, budget.state().used), (size, u64::from(size)));
        }
        window.grow(&budget, client());
        assert_eq!(window.size(), LARGEST);
        drop(first);
        assert_eq!(window.size(), LARGEST, "promised");
        drop(window);
        assert_eq!(budget.state().used, 0);
    }

    #[tokio::test]
    async fn uploads_at_the_same_time_open_more_and_later_ones_do_not() {
        let (budget, window) = (budget(), ClientWindow::default());
        let new = || Growth::new(&window, &budget, client());
        for _ in 0..3 {
            drop(new());
        }
        assert_eq!(window.size(), OF_ONE);
        let all: Vec<_> = (0..9).map(|_| new()).collect();
        assert_eq!(window.size(), LARGEST);
        drop(all);
        assert_eq!(window.uploads.load(Ordering::Relaxed), 0);
        assert_eq!(timeout(FAR, window.changed()).await, Ok(6 << 20));
    }

    /// The window after an upload of 64 MiB by a client so far away, in milliseconds, that sends so much at a time, in KiB,
    /// to a registry that takes so many milliseconds for each. A silence is told in two parts where it is longer than 20 ms.
    async fn grown(away: u64, kib: usize, registry: u64) -> u64 {
        let (budget, window) = (budget(), ClientWindow::default());
        let mut growth = Growth::new(&window, &budget, client());
        sleep(Duration::from_secs(5)).await;
        growth.begins();
        for _ in 0..(64 << 10) / kib {
            for part in [away.min(20), away.saturating_sub(20)] {
                sleep(Duration::from_millis(part)).await;
                growth.silence(Duration::from_millis(part));
            }
            growth.came(kib << 10);
            sleep(Duration::from_millis(registry)).await;
        }
        window.size()
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_grows_for_who_is_far_away() {
        for away in [1, 2, 10, 20, 25, 30, 35, 60, 300] {
            for kib in [140, 256, 512] {
                assert_eq!(grown(away, kib, 0).await, LARGEST, "{away} ms, {kib} KiB");
            }
        }
        assert_eq!(grown(0, 64, 0).await, OF_ONE, "near");
        assert_eq!(grown(0, 64, 5).await, OF_ONE, "near, and a slow registry");
        assert_eq!(grown(2, 64, 5).await, OF_ONE, "the registry is the slower side");
    }
}
