//! The model that the checker searches: what may happen next in a state, and what comes of it.

use stateright::{Model, Property};

use super::configuration::{Configuration, MOST_CLOSED, May, Start};
use super::execute::{Luck, go};
use super::outside::{self, Cache};
use super::replica::{look, read_list};
use super::shared::Shared;
use super::start::start;
use super::{Marked, NO_ROWS, ODD_ROWS, Phase, Ser, Source, Target, Tok, World, census};

/// A configuration with what its states share.
pub struct Checked {
    pub configuration: Configuration,
    pub shared: Shared,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Look(usize),
    Go(usize),
    Unlucky(usize, May),
    Restart(usize),
    Refresh(usize, Cache),
    ReadList(usize),
    ReadShortList(usize, Tok),
    Land,
    Tick,
    MoveConsumer,
    /// The pod is created, or its container restarts.
    StartPod,
    EndPod,
    MoveRemote,
    Happens(May),
    Kill(Tok),
    Rename(Tok),
    Age(Tok),
    DeleteSlot(Ser),
    Remember,
    Recover,
    RivalEnds,
}

impl Checked {
    pub fn new(configuration: Configuration) -> Self {
        let shared = Shared::new(configuration.mutation, configuration.hides, configuration.retirement.clone());
        let (pods, adopts) = (configuration.may.contains(&May::Pods), configuration.start == Start::Adopting);
        let shared = Shared { pods, adopts, ..shared };
        Self { configuration, shared }
    }

    fn may(&self, what: May) -> bool {
        self.configuration.may.contains(&what)
    }

    fn replica_actions(&self, world: &World, replica: usize, actions: &mut Vec<Action>) {
        let state = &world.replicas[replica];
        match state.phase {
            // Whether anything comes of it is worked out once, where it is done.
            Phase::Idle => actions.push(Action::Look(replica)),
            Phase::Pending(hand) => {
                actions.push(Action::Go(replica));
                if world.left.faults > 0 {
                    let job = self.shared.jobs.value(hand.job);
                    let mints = job.effect.as_ref().is_some_and(|effect| effect.word() == "mint");
                    let tries = job.refusal.is_some();
                    let unlucky = [
                        (May::LateCreate, mints),
                        (May::LoseAnswer, mints),
                        (May::GrantOdd, mints),
                        (May::GrantNothing, mints),
                        (May::Refuse, tries),
                    ];
                    actions.extend(
                        unlucky
                            .into_iter()
                            .filter(|(may, possible)| *possible && self.may(*may))
                            .map(|(may, _)| Action::Unlucky(replica, may)),
                    );
                }
            }
            Phase::Half(..) | Phase::HalfForged(..) => actions.push(Action::Go(replica)),
        }
        let lags = state.list_lags || state.object.is_some() || state.slots.is_some() || state.target.is_some();
        let half = matches!(state.phase, Phase::Half(..) | Phase::HalfForged(..)) || lags && state.phase != Phase::Idle;
        if half && world.left.faults > 0 && self.may(May::Crash) {
            actions.push(Action::Restart(replica));
        }
        if world.object.gone.is_some() || state.phase != Phase::Idle {
            return;
        }
        for cache in [Cache::Object, Cache::Slots, Cache::Target] {
            if outside::is_old(world, replica, cache) {
                actions.push(Action::Refresh(replica, cache));
            }
        }
        if state.list_lags {
            let list = world.list(self.shared.hides);
            if state.list.as_ref() != Some(&list) || !state.fresh {
                actions.push(Action::ReadList(replica));
            }
            if world.left.lies > 0 && self.may(May::ShortList) {
                let active = list.iter().filter(|(_, token)| token.active);
                actions.extend(active.map(|(token, _)| Action::ReadShortList(replica, *token)));
            }
        }
    }

    fn consumer_actions(&self, world: &World, actions: &mut Vec<Action>) {
        let Target::Ours { token: Some(token), intact: true } = world.target else { return };
        if self.may(May::Pods) && world.left.pods > 0 {
            actions.push(Action::StartPod);
            if world.pod.is_some() {
                actions.push(Action::EndPod);
            }
        }
        if world.remote.is_some_and(|held| held != token) {
            actions.push(Action::MoveRemote);
        }
    }

    fn user_actions(&self, world: &World, actions: &mut Vec<Action>) {
        let deleted = world.object.deleted.is_some();
        if world.left.edits > 0 {
            let possible =
                [(May::Edit, !deleted), (May::CallCompromised, !deleted), (May::Delete, !deleted), (May::ChangePolicy, deleted)];
            actions.extend(
                possible.into_iter().filter(|(may, possible)| *possible && self.may(*may)).map(|(may, _)| Action::Happens(may)),
            );
        }
        let asks = self.shared.ledger(world.object.ledger).set_back.is_some();
        if self.may(May::Confirm) && !world.confirmed && asks {
            actions.push(Action::Happens(May::Confirm));
        }
        if self.may(May::Outage) && world.left.faults > 0 && world.account_ready {
            actions.push(Action::Happens(May::Outage));
        }
        if !world.account_ready {
            actions.push(Action::Recover);
        }
    }

    fn outside_actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.left.outside == 0 {
            return;
        }
        let ours = matches!(world.target, Target::Ours { .. });
        let wiped = self.shared.ledger(world.object.ledger).is_blank();
        let possible = [
            (May::DeleteTarget, world.target != Target::Missing),
            (May::EditTarget, matches!(world.target, Target::Ours { token: Some(_), intact: true })),
            (May::TakeTarget, ours || world.target == Target::Missing),
            (May::Wipe, !wiped),
            (May::SetLedgerBack, world.snapshot.is_some()),
            (May::Restore, world.snapshot.is_some()),
        ];
        actions.extend(
            possible.into_iter().filter(|(may, possible)| *possible && self.may(*may)).map(|(may, _)| Action::Happens(may)),
        );
        let sets_back = self.may(May::SetLedgerBack) || self.may(May::Restore);
        // A cluster that is set back into the middle of the very attempt that was published later cannot be told from one
        // whose attempt is still under way: a known gap, kept out of the search.
        let between_attempts = self.shared.ledger(world.object.ledger).next.is_none() || self.may(May::SetLedgerBack);
        if sets_back && between_attempts && world.snapshot.is_none() {
            actions.push(Action::Remember);
        }
        let holds = world.slots.iter().any(|slot| slot.token == Some(0) && !slot.retained);
        let adopting = [
            (May::EmptySource, world.source != Source::Nothing),
            (May::ForgeSource, matches!(world.source, Source::Real(_))),
            (May::MoveReaders, world.elsewhere.is_some()),
            (May::Rival, !world.rival && !holds && world.tokens.first().is_some_and(|token| token.active && token.made_outside)),
        ];
        let adopting = adopting.into_iter().filter(|(may, possible)| *possible && self.may(*may));
        actions.extend(adopting.map(|(may, _)| Action::Happens(may)));
        let tokens = (0..).zip(&world.tokens).filter(|(_, token)| token.active && token.mark == Marked::Ours);
        for (token, _) in tokens {
            if self.may(May::Kill) {
                actions.push(Action::Kill(token));
            }
            if self.may(May::Age) && !world.tokens[usize::from(token)].legacy {
                actions.push(Action::Age(token));
            }
            if self.may(May::Rename) && world.slots.iter().any(|slot| slot.token == Some(token)) {
                actions.push(Action::Rename(token));
            }
        }
        if self.may(May::DeleteSlot) {
            let slots = world.slots.iter().filter(|slot| !slot.retained);
            actions.extend(slots.map(|slot| Action::DeleteSlot(slot.serial)));
        }
    }

    fn happens(&self, world: &mut World, what: May) {
        match what {
            May::Edit => outside::edit(world),
            May::CallCompromised => outside::call_compromised(world, &self.shared),
            May::Delete => outside::delete(world),
            May::ChangePolicy => outside::change_policy(world),
            May::Outage => world.account_ready = false,
            May::Confirm => world.confirmed = true,
            May::DeleteTarget => outside::damage_target(world, Target::Missing),
            May::TakeTarget => outside::damage_target(world, Target::Foreign),
            May::EditTarget => {
                if let Target::Ours { token, .. } = world.target {
                    outside::damage_target(world, Target::Ours { token, intact: false });
                }
            }
            May::Wipe => outside::wipe(world, &self.shared),
            May::SetLedgerBack => outside::set_ledger_back(world),
            May::Restore => outside::restore(world, &self.shared),
            May::EmptySource => world.source = Source::Nothing,
            May::ForgeSource => world.source = Source::Forged(0),
            May::MoveReaders => world.elsewhere = None,
            May::Rival => outside::rival_claims(world),
            _ => {}
        }
        match what {
            May::Edit | May::CallCompromised | May::Delete | May::ChangePolicy => world.left.edits -= 1,
            May::Outage => world.left.faults -= 1,
            May::Confirm => {}
            _ => world.left.outside -= 1,
        }
    }

    fn unlucky(&self, world: &World, replica: usize, what: May) -> World {
        let luck = match what {
            May::LateCreate => Luck::Late,
            May::LoseAnswer => Luck::Unanswered,
            May::GrantOdd => Luck::Grants(ODD_ROWS),
            May::GrantNothing => Luck::Grants(NO_ROWS),
            _ => Luck::Refused,
        };
        let mut next = go(world, replica, &self.shared, luck);
        next.left.faults -= 1;
        next
    }

    fn next(&self, world: &World, action: Action) -> Option<World> {
        match action {
            Action::Look(replica) => look(world, replica, &self.shared).filter(|next| next != world),
            Action::Go(replica) => Some(go(world, replica, &self.shared, Luck::Good)),
            Action::Unlucky(replica, what) => Some(self.unlucky(world, replica, what)),
            _ => Some(self.befalls(world, action)),
        }
    }

    /// What comes of everything that is no step of a replica's plan.
    fn befalls(&self, world: &World, action: Action) -> World {
        let mut next = world.clone();
        match action {
            Action::Look(_) | Action::Go(_) | Action::Unlucky(..) => unreachable!("{action:?} is a replica's step"),
            Action::Restart(replica) => {
                outside::restart(&mut next, replica);
                next.left.faults -= 1;
            }
            Action::Refresh(replica, cache) => outside::refresh(&mut next, replica, cache),
            Action::ReadList(replica) => read_list(&mut next, replica, &self.shared, 0),
            Action::ReadShortList(replica, token) => {
                read_list(&mut next, replica, &self.shared, super::bit(token));
                next.left.lies -= 1;
            }
            Action::Land => outside::land(&mut next),
            Action::Tick => outside::tick(&mut next),
            Action::MoveConsumer => outside::move_consumer(&mut next),
            Action::StartPod => {
                outside::start_pod(&mut next);
                next.left.pods -= 1;
            }
            Action::EndPod => {
                next.pod = None;
                next.left.pods -= 1;
            }
            Action::MoveRemote => outside::move_remote(&mut next),
            Action::Happens(what) => self.happens(&mut next, what),
            Action::Kill(token) => {
                outside::kill(&mut next, token);
                next.left.outside -= 1;
            }
            Action::Age(token) => {
                outside::age(&mut next, token);
                next.left.outside -= 1;
            }
            Action::Rename(token) => {
                outside::rename(&mut next, token);
                next.left.outside -= 1;
            }
            Action::DeleteSlot(serial) => {
                outside::delete_slot(&mut next, serial);
                next.left.outside -= 1;
            }
            Action::Remember => outside::remember(&mut next),
            Action::RivalEnds => outside::rival_ends(&mut next),
            Action::Recover => next.account_ready = true,
        }
        next
    }

    /// Replicas of the same lag are alike, so that their order says nothing.
    fn sort_replicas(&self, world: &mut World) {
        if self.configuration.replicas.windows(2).all(|pair| pair[0] == pair[1]) {
            world.replicas.sort_unstable();
        }
    }
}

impl Model for Checked {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let mut world = start(&self.configuration, &self.shared);
        census::judge(&mut world, &self.shared);
        vec![world]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for replica in 0..world.replicas.len() {
            self.replica_actions(world, replica, actions);
        }
        if !world.delayed.is_empty() {
            actions.push(Action::Land);
        }
        if world.left.ticks > 0 {
            actions.push(Action::Tick);
        }
        if matches!(world.target, Target::Ours { token: Some(token), intact: true } if world.consumer != Some(token)) {
            actions.push(Action::MoveConsumer);
        }
        self.consumer_actions(world, actions);
        if world.rival {
            actions.push(Action::RivalEnds);
        }
        if world.object.gone.is_none() {
            self.user_actions(world, actions);
            self.outside_actions(world, actions);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = self.next(world, action)?;
        census::judge(&mut next, &self.shared);
        self.sort_replicas(&mut next);
        Some(next)
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.tokens.len() + world.delayed.len() <= self.configuration.tokens && world.closed.len() <= MOST_CLOSED
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = census::properties();
        properties.extend(self.configuration.witnesses.iter().map(|(name, witness)| Property::sometimes(name, *witness)));
        properties
    }
}
