//! When a failed login is answered.

use std::time::Duration;

use tokio::time::Instant;

use super::LoginError;

/// Failed logins are answered at multiples of this time.
pub(super) const GRID: Duration = Duration::from_millis(250);

/// Waits until an error may be told.
pub(super) async fn on_grid(begun: Instant, error: LoginError) -> LoginError {
    match error {
        LoginError::Rejected | LoginError::Unavailable | LoginError::Overloaded => {
            tokio::time::sleep_until(begun + next_tick(begun.elapsed())).await;
        }
        LoginError::Throttled { .. } => {}
    }
    error
}

/// The first point of the grid after the elapsed time.
pub(super) fn next_tick(elapsed: Duration) -> Duration {
    let passed = elapsed.as_millis() / GRID.as_millis();
    GRID.saturating_mul(u32::try_from(passed).unwrap_or(u32::MAX).saturating_add(1))
}
