//! One test: its name, where it plays, and how it is run.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures::FutureExt;

use super::scene::Scene;
use super::world::World;

/// What a test does in its scene.
pub type Play = for<'scene> fn(&'scene Scene) -> Pin<Box<dyn Future<Output = ()> + 'scene>>;

/// Where a test plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Beside others, with the shared operator.
    Shared,
    /// On a plane of its own, where it starts its operators itself.
    Own,
    /// The same, with a node on which pods run and workloads roll.
    Rolling,
}

/// A test.
#[derive(Clone, Copy)]
pub struct Case {
    /// Its name: module and behaviour.
    pub name: &'static str,
    /// Where it plays.
    pub place: Place,
    /// What it does.
    pub play: Play,
}

/// Lists tests of a module by the names of their functions.
macro_rules! cases {
    ($place:ident: $($name:ident),+ $(,)?) => {
        vec![$($crate::support::case::Case {
            name: concat!(module_path!(), "::", stringify!($name)),
            place: $crate::support::case::Place::$place,
            play: |scene| Box::pin($name(scene)),
        }),+]
    };
}
pub(crate) use cases;

/// Runs a test in a scene of its own; what failed, if anything did.
pub async fn run(world: &Arc<World>, case: Case) -> Result<(), String> {
    let name = case.name.trim_start_matches("it::");
    let _turn = if case.place == Place::Shared { Some(world.turn().await) } else { None };
    let stage = match case.place {
        Place::Shared => world.shared().await,
        Place::Own => world.own().await,
        Place::Rolling => world.rolling().await,
    };
    let scene = Scene::set(Arc::clone(world), Arc::clone(&stage), name).await;
    let played = std::panic::AssertUnwindSafe((case.play)(&scene)).catch_unwind().await.map_err(|panic| words(&*panic));
    let checked = std::panic::AssertUnwindSafe(scene.check()).catch_unwind().await.map_err(|panic| words(&*panic));
    let mut failures: Vec<String> = [played, checked].into_iter().filter_map(Result::err).collect();
    failures.extend(scene.broken_promises());
    let lines = if failures.is_empty() { String::new() } else { scene.story() };
    scene.strike().await;
    match case.place {
        Place::Shared => {}
        Place::Own => world.give_back(stage).await,
        Place::Rolling => world.end_plane(&stage).await,
    }
    if failures.is_empty() { Ok(()) } else { Err(format!("{}\n{lines}", failures.join("\n"))) }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_else(|| "it panicked".to_owned())
}
