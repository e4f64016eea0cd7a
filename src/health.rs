//! Whether the process lives and can do its work: flags that the controller raises and the server shows. Decides nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The flags of this process. Cheap to clone; clones share them. A standby is ready as well: its caches are warm.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    kinds_served: AtomicBool,
    caches_synced: AtomicBool,
    failed: AtomicBool,
}

impl Health {
    /// The API server serves both kinds in the version that this process speaks.
    pub fn kinds_are_served(&self) {
        self.0.kinds_served.store(true, Ordering::Release);
    }

    /// All caches hold what was there when they were started.
    pub fn caches_are_synced(&self) {
        self.0.caches_synced.store(true, Ordering::Release);
    }

    /// Something happened after which only a new process can go on.
    pub fn fail(&self) {
        self.0.failed.store(true, Ordering::Release);
    }

    /// Whether the process should be left alone.
    pub fn is_live(&self) -> bool {
        !self.0.failed.load(Ordering::Acquire)
    }

    /// What keeps the process from being ready; `None` if it is.
    pub fn not_ready_because(&self) -> Option<&'static str> {
        if !self.is_live() {
            Some("the process has failed and must be started anew")
        } else if !self.0.kinds_served.load(Ordering::Acquire) {
            Some("the API server does not serve ServiceToken and DbtAccount yet")
        } else if !self.0.caches_synced.load(Ordering::Acquire) {
            Some("the caches are not filled yet")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_once_it_can_do_its_work() {
        let health = Health::default();
        let reason = || health.not_ready_because().unwrap_or_default();
        assert!(reason().contains("does not serve"));
        health.kinds_are_served();
        assert!(reason().contains("caches"));
        health.clone().caches_are_synced();
        assert_eq!((health.is_live(), health.not_ready_because()), (true, None));
        health.fail();
        assert!(!health.is_live() && reason().contains("failed"));
    }
}
