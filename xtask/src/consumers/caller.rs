//! The calls: every string that is held, again and again.

use std::time::{Duration, Instant};

use super::views::View;
use super::{EVERY, Options, Refusal, Shared, lock};
use crate::http::{Client, Request, Session};
use crate::wait;

/// How long a container may go on being seen after dbt refused it: when it has ended, the watch tells so a moment later. A
/// reader of a Secret has no such excuse.
const END_IS_TOLD: Duration = Duration::from_secs(2);

/// One of those who take turns.
pub(super) struct Caller {
    client: Client,
    dbt: String,
    path: String,
    number: usize,
    of: usize,
    session: Option<Session>,
}

/// A call that was not accepted, of a consumer that may just have ended.
struct Doubt {
    view: View,
    at: Instant,
    answer: String,
}

impl Caller {
    pub(super) fn new(options: &Options, client: Client, number: usize, of: usize) -> Self {
        Self { client, dbt: options.dbt.clone(), path: options.path.clone(), number, of, session: None }
    }

    /// Calls until it is over.
    pub(super) fn run(mut self, shared: &Shared) {
        let mut doubts = Vec::new();
        let mut last: Option<Instant> = None;
        while !shared.is_over() {
            let now = Instant::now();
            let views = lock(&shared.known).views(now);
            doubts = settle(doubts, &views, shared);
            doubts.extend(self.round(views, shared));
            if let Some(last) = last.replace(now) {
                let mut report = lock(&shared.report);
                report.longest_pause = report.longest_pause.max(now - last);
            }
            let rest = EVERY.saturating_sub(now.elapsed());
            let _ended = wait::until(rest, rest, || shared.is_over().then_some(()));
        }
        doubts.into_iter().for_each(|doubt| report(doubt, shared));
    }

    /// Uses its share of the strings once; the calls that were not accepted.
    fn round(&mut self, views: Vec<View>, shared: &Shared) -> Vec<Doubt> {
        let mut doubts = Vec::new();
        for view in views.into_iter().skip(self.number).step_by(self.of) {
            let outcome = self.call(&view);
            let mut report = lock(&shared.report);
            *report.calls.entry(view.holder.way()).or_default() += 1;
            if !view.is_current {
                *report.outdated.entry(view.holder.way()).or_default() += 1;
            }
            drop(report);
            if let Err(answer) = outcome {
                doubts.push(Doubt { view, at: Instant::now(), answer });
            }
        }
        doubts
    }

    /// One call; what dbt answered if it did not accept it.
    fn call(&mut self, view: &View) -> Result<(), String> {
        // A connection that was closed meanwhile is opened anew, once.
        let answer = self.send(view).or_else(|_| self.send(view));
        match answer {
            Ok(200) => Ok(()),
            Ok(status) => Err(status.to_string()),
            Err(error) => Err(format!("nothing ({error})")),
        }
    }

    fn send(&mut self, view: &View) -> std::io::Result<u16> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => Session::open(&self.client, &self.dbt)?,
        };
        let token = view.held.expose();
        let request = Request { method: "GET", path: &self.path, token, content_type: "application/json", body: String::new() };
        let status = session.send(&request)?.status;
        self.session = Some(session);
        Ok(status)
    }
}

/// Drops the doubts about consumers that have ended, and reports those about others; the ones that are still open.
fn settle(doubts: Vec<Doubt>, views: &[View], shared: &Shared) -> Vec<Doubt> {
    let still_held = doubts.into_iter().filter(|doubt| {
        let excuse = doubt.view.holder.way() != "the Secret itself";
        !excuse || views.iter().any(|view| view.holder == doubt.view.holder && view.held == doubt.view.held)
    });
    let (refused, open): (Vec<_>, Vec<_>) =
        still_held.partition(|doubt| doubt.view.holder.way() == "the Secret itself" || doubt.at.elapsed() >= END_IS_TOLD);
    refused.into_iter().for_each(|doubt| report(doubt, shared));
    open
}

fn report(doubt: Doubt, shared: &Shared) {
    let Doubt { view, answer, at } = doubt;
    let (holder, secret, is_current) = (view.holder.to_string(), view.holder.secret().to_owned(), view.is_current);
    lock(&shared.report).refused.push(Refusal { holder, secret, uid: view.held.uid(), is_current, answer, at });
}
