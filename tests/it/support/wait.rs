//! Waiting for a condition with a limit: the only place of the tests where time passes by itself.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// How often a condition is asked: often enough not to slow a test down, rarely enough not to load the machine.
const EVERY: Duration = Duration::from_millis(150);

/// The usual limit. What is waited for usually takes less than a second; a machine that is busy with builds takes longer.
pub const LIMIT: Duration = Duration::from_secs(90);

/// Asks until the answer is `Ok`, and panics with the last other answer when the limit is over.
pub async fn until<T>(limit: Duration, what: &str, ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    until_with(EVERY, limit, what, ask).await
}

/// The same for a question that costs more than most, and is asked less often.
pub async fn until_with<T>(every: Duration, limit: Duration, what: &str, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match ask().await {
            Ok(value) => return value,
            Err(last) if started.elapsed() >= limit => panic!("{what}: not within {} s; last seen: {last}", limit.as_secs()),
            Err(_) => tokio::time::sleep(every).await,
        }
    }
}

/// Waits until what is created next is younger than everything that was created so far: times of creation have whole
/// seconds, and of two objects of one second chance decides which is the older.
pub async fn next_second() {
    let begun = Timestamp::now().as_second();
    let is_later = async || if Timestamp::now().as_second() > begun { Ok(()) } else { Err("the same second".to_owned()) };
    until(LIMIT, "the next second begins", is_later).await;
}

/// Does something again and again until its task is aborted.
pub async fn for_ever<Look: Future<Output = ()>>(every: Duration, mut look: impl FnMut() -> Look) {
    loop {
        look().await;
        tokio::time::sleep(every).await;
    }
}
