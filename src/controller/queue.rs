//! The work queue: which object is looked at when. An object is never worked on twice at once; what is due in one moment is
//! worked on in the order in which it was asked for, and work that waits is taken up in the order in which it is woken.
//!
//! The runner of kube's runtime keeps its work in a hash map with keys of its own in each process and polls all of it
//! whenever one piece is woken. With that no run of the simulation could be repeated, and sixteen looks under way cost
//! sixteen polls for each answer.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::Future;
use std::hash::Hash;
use std::pin::pin;
use std::time::Duration;

use futures::channel::mpsc::UnboundedReceiver;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep_until};

/// Requests for one object that come so close together are one look.
const DEBOUNCE: Duration = Duration::from_millis(5);

/// The longest time until a look. A timer cannot be set for the end of time.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// When to look at an object again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// After this time, or when something changes before.
    After(Duration),
    /// When something changes.
    OnChange,
}

/// When, and what decides between looks that are due in one moment.
type Turn = (Instant, u64);

/// What is to be looked at, and what is being looked at.
struct Queue<Key> {
    due: BTreeMap<Turn, Key>,
    turns: HashMap<Key, Turn>,
    running: HashSet<Key>,
    requests: u64,
}

impl<Key: Clone + Eq + Hash> Queue<Key> {
    fn new() -> Self {
        Self { due: BTreeMap::new(), turns: HashMap::new(), running: HashSet::new(), requests: 0 }
    }

    /// Asks for a look at this time. Of two looks that are asked for, the earlier one is made.
    fn ask(&mut self, key: Key, at: Instant) {
        if let Some(turn) = self.turns.get(&key) {
            if turn.0 <= at {
                return;
            }
            self.due.remove(turn);
        }
        self.requests += 1;
        let turn = (at, self.requests);
        self.turns.insert(key.clone(), turn);
        self.due.insert(turn, key);
    }

    /// The next object that may be looked at, and when. One that is being looked at keeps its turn until that is done.
    fn next(&self) -> Option<(Turn, &Key)> {
        self.due.iter().find(|(_, key)| !self.running.contains(key)).map(|(turn, key)| (*turn, key))
    }

    /// Takes the next object whose time has come.
    fn take(&mut self, now: Instant) -> Option<Key> {
        let (turn, _) = self.next().filter(|(turn, _)| turn.0 <= now)?;
        let key = self.due.remove(&turn)?;
        self.turns.remove(&key);
        self.running.insert(key.clone());
        Some(key)
    }

    /// The look at an object is over.
    fn done(&mut self, key: Key, look: Look, now: Instant) {
        self.running.remove(&key);
        if let Look::After(wait) = look {
            self.ask(key, now + wait.min(LONGEST));
        }
    }
}

/// Works on whatever is asked for, on so many objects at once, until it is asked to stop; then what is under way is finished.
pub async fn work<Key, Work>(
    mut requests: UnboundedReceiver<Key>,
    concurrency: u16,
    stop: impl Future<Output = ()>,
    work: impl Fn(Key) -> Work,
) where
    Key: Clone + Eq + Hash,
    Work: Future<Output = Look>,
{
    let mut stop = pin!(stop);
    let mut queue = Queue::<Key>::new();
    let mut running = FuturesUnordered::new();
    let has_room = |running: usize| running < usize::from(concurrency);
    loop {
        while has_room(running.len())
            && let Some(key) = queue.take(Instant::now())
        {
            running.push(work(key.clone()).map(|look| (key, look)));
        }
        let due = queue.next().map(|((at, _), _)| at).filter(|_| has_room(running.len()));
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some((key, look)) = running.next() => queue.done(key, look, Instant::now()),
            request = requests.next() => match request {
                Some(key) => queue.ask(key, Instant::now() + DEBOUNCE),
                None => break,
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
    }
    while running.next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use futures::channel::mpsc::{UnboundedSender, unbounded};
    use tokio::sync::Notify;
    use tokio::task::LocalSet;

    use super::*;

    /// Milliseconds since the beginning, and what happened.
    type Told = Rc<RefCell<Vec<(u128, String)>>>;

    struct Bench {
        requests: UnboundedSender<&'static str>,
        stop: Rc<Notify>,
        told: Told,
    }

    impl Bench {
        fn ask(&self, keys: &[&'static str]) {
            keys.iter().for_each(|key| self.requests.unbounded_send(key).expect("the queue is open"));
        }

        fn told(&self) -> Vec<String> {
            self.told.borrow_mut().drain(..).map(|(at, what)| format!("{at} {what}")).collect()
        }
    }

    /// Runs a queue whose looks take 100 ms each and end with what `look` says of the key.
    async fn bench(concurrency: u16, look: fn(&str) -> Look, play: impl AsyncFnOnce(&Bench)) {
        let (requests, received) = unbounded();
        let bench = Bench { requests, stop: Rc::new(Notify::new()), told: Told::default() };
        let (started, told, stop) = (Instant::now(), bench.told.clone(), bench.stop.clone());
        let note = move |what: String| told.borrow_mut().push((started.elapsed().as_millis(), what));
        let one = {
            let note = note.clone();
            move |key: &'static str| {
                let note = note.clone();
                async move {
                    note(format!("begin {key}"));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    note(format!("end {key}"));
                    look(key)
                }
            }
        };
        let local = LocalSet::new();
        local.spawn_local(async move {
            work(received, concurrency, stop.notified(), one).await;
            note("over".to_owned());
        });
        local.run_until(play(&bench)).await;
    }

    async fn pass(milliseconds: u64) {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_come_together_are_one_look_and_are_not_put_off_by_more_of_them() {
        bench(
            2,
            |_| Look::OnChange,
            async |it: &Bench| {
                it.ask(&["a", "a"]);
                pass(3).await;
                it.ask(&["a"]);
                pass(50).await;
                assert_eq!(it.told(), ["5 begin a"]);
            },
        )
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_is_never_looked_at_twice_at_once_and_no_request_is_lost() {
        bench(
            2,
            |_| Look::OnChange,
            async |it: &Bench| {
                it.ask(&["a"]);
                pass(50).await;
                it.ask(&["a"]);
                pass(300).await;
                assert_eq!(it.told(), ["5 begin a", "105 end a", "105 begin a", "205 end a"]);
            },
        )
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_are_looked_at_at_once_in_the_order_in_which_they_were_asked_for() {
        bench(
            2,
            |_| Look::OnChange,
            async |it: &Bench| {
                it.ask(&["c", "a", "d", "b"]);
                pass(300).await;
                let expected =
                    ["5 begin c", "5 begin a", "105 end c", "105 end a", "105 begin d", "105 begin b", "205 end d", "205 end b"];
                assert_eq!(it.told(), expected);
            },
        )
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_is_asked_for_later_is_made_earlier_if_something_changes() {
        bench(
            1,
            |_| Look::After(Duration::from_secs(1)),
            async |it: &Bench| {
                it.ask(&["a"]);
                pass(1150).await;
                assert_eq!(it.told(), ["5 begin a", "105 end a", "1105 begin a"]);
                pass(350).await;
                it.ask(&["a"]);
                pass(50).await;
                assert_eq!(it.told(), ["1205 end a", "1505 begin a"]);
            },
        )
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_longest_is_next_when_a_place_is_free() {
        let soon = |_: &str| Look::After(Duration::from_millis(1));
        bench(1, soon, async |it: &Bench| {
            it.ask(&["a", "b", "c"]);
            pass(450).await;
            let begun: Vec<String> = it.told().into_iter().filter(|line| line.contains("begin")).collect();
            assert_eq!(begun, ["5 begin a", "105 begin b", "205 begin c", "305 begin a", "405 begin b"]);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_is_finished_after_the_stop_and_nothing_is_begun() {
        bench(
            1,
            |_| Look::After(Duration::ZERO),
            async |it: &Bench| {
                it.ask(&["a", "b"]);
                pass(50).await;
                it.stop.notify_one();
                pass(500).await;
                assert_eq!(it.told(), ["5 begin a", "105 end a", "105 over"]);
            },
        )
        .await;
    }
}
