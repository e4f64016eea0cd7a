//! Lists, read page by page from a server whose paging is not trusted. Knows no operation.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::call::Route;
use super::classify::{Effect, Problem};
use super::wire::{self, Envelope, ITEM_LIMIT, Page, WireCredential, WireEnvironment, WireProject, WireToken};
use super::{DbtCloud, Failed};

/// Items asked for at once: the most that multi-tenant dbt allows `[DOC]`.
const PAGE: usize = 100;
/// Pages of one list. With `PAGE` items each it is a hundred thousand, an order of magnitude above any account heard of; a
/// server that never comes to an end is cut off here.
const PAGE_LIMIT: usize = ITEM_LIMIT / PAGE;
/// Bytes of all pages of one list: those of twenty-five thousand tokens. What is kept of a list takes six times as much memory
/// at worst.
const LIST_LIMIT: usize = 16 * 1024 * 1024;

/// What a list holds.
pub(super) trait Item: for<'de> Deserialize<'de> {
    /// By what the same item is known on two pages.
    fn id(&self) -> i64;
}

impl Item for WireToken {
    fn id(&self) -> i64 {
        self.id
    }
}

impl Item for WireProject {
    fn id(&self) -> i64 {
        self.id
    }
}

impl Item for WireEnvironment {
    fn id(&self) -> i64 {
        self.id
    }
}

impl Item for WireCredential {
    fn id(&self) -> i64 {
        self.id
    }
}

/// The items found so far.
pub(super) struct Gathered<T> {
    pub(super) items: Vec<T>,
    ids: BTreeSet<i64>,
}

/// Whether there may be more.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Page,
    End,
}

impl<T> Gathered<T> {
    pub(super) fn new() -> Self {
        Self { items: Vec::new(), ids: BTreeSet::new() }
    }

    /// Takes a page. The next one begins behind the items that are known, however many were sent: where some are sent
    /// twice, counting them would skip over others.
    ///
    /// The list is at its end when a page is empty, brings nothing new (the offset is ignored), or completes the announced
    /// number. A full page, or one with items that were known, never completes it: the number may count less than the list
    /// shows (without deleted tokens, for example), and one more request is cheaper than a token that is overlooked.
    ///
    /// An end before the announced number is refused: half a list looks like tokens that vanished.
    pub(super) fn add<W: Item>(
        &mut self,
        page: Envelope<Page<W>>,
        convert: impl Fn(W) -> Result<T, String>,
    ) -> Result<Next, String> {
        let total = page.extra.and_then(|extra| extra.pagination).and_then(|pagination| pagination.total_count);
        let items = page.data.ok_or("the list has no data")?.0;
        let length = items.len();
        let known = self.items.len();
        for item in items {
            if self.ids.insert(item.id()) {
                self.items.push(convert(item)?);
            }
        }
        if self.items.len() > ITEM_LIMIT {
            return Err(format!("the list has more than {ITEM_LIMIT} items"));
        }
        let total = total.map(|total| usize::try_from(total).unwrap_or(usize::MAX));
        let is_complete = total.is_some_and(|total| self.items.len() >= total);
        let fresh = self.items.len() - known;
        if is_complete && length != PAGE && fresh == length {
            return Ok(Next::End);
        }
        if fresh > 0 {
            return Ok(Next::Page);
        }
        match total {
            Some(total) if !is_complete => Err(format!("the list ends after {} of {total} items", self.items.len())),
            _ => Ok(Next::End),
        }
    }
}

impl DbtCloud {
    /// Reads all of a list. `path` is without a query; `convert` is asked about each item once, page by page, so that no more
    /// than one page is held as it came.
    pub(super) async fn pages<W: Item, T>(
        &self,
        route: &'static Route,
        path: &str,
        what: &str,
        convert: impl Fn(W) -> Result<T, String>,
    ) -> Result<Vec<T>, Failed> {
        let (mut gathered, mut bytes) = (Gathered::new(), 0);
        for _ in 0..PAGE_LIMIT {
            // Whether the token list honours these is unknown [ASSUMED harmless]: an unknown parameter is ignored.
            let path_and_query = format!("{path}?limit={PAGE}&offset={}", gathered.items.len());
            let answer = self.admin(route, &path_and_query, None, what).await?;
            bytes += answer.body.len();
            if bytes > LIST_LIMIT {
                return Err(self.failed(what, senseless(format!("the list has more than {LIST_LIMIT} bytes"))));
            }
            let page = wire::read(&answer.body).map_err(|error| self.failed(what, senseless(error.to_string())))?;
            drop(answer);
            match gathered.add(page, &convert).map_err(|reason| self.failed(what, senseless(reason)))? {
                Next::Page => {}
                Next::End => return Ok(gathered.items),
            }
        }
        Err(self.failed(what, senseless(format!("the list has more than {PAGE_LIMIT} pages"))))
    }
}

fn senseless(reason: String) -> Problem {
    Problem::senseless(Effect::None, reason)
}

#[cfg(test)]
mod tests {
    use super::super::wire::{AtMost, Extra, Pagination};
    use super::*;

    fn new() -> Gathered<WireProject> {
        Gathered::new()
    }

    fn page(ids: impl IntoIterator<Item = i64>, total: Option<u64>) -> Envelope<Page<WireProject>> {
        let data = ids.into_iter().map(|id| WireProject { id, account_id: None, name: None, state: None }).collect();
        Envelope { data: Some(AtMost(data)), extra: Some(Extra { pagination: Some(Pagination { total_count: total }) }) }
    }

    #[test]
    fn a_list_ends_where_it_should() {
        let check = |pages: Vec<Envelope<Page<WireProject>>>, expected: usize, case: &str| {
            let mut gathered = new();
            let count = pages.len();
            for (place, page) in pages.into_iter().enumerate() {
                let next = gathered.add(page, Ok).expect(case);
                assert_eq!(next == Next::End, place + 1 == count, "{case}, page {place}");
            }
            assert_eq!(gathered.items.len(), expected, "{case}");
        };
        check(vec![page([], None)], 0, "empty");
        check(vec![page([], Some(0))], 0, "empty, announced");
        check(vec![page(1..=3, Some(3))], 3, "one short page");
        check(vec![page(1..=3, None), page([], None)], 3, "nothing announced");
        check(vec![page(1..=100, Some(150)), page(101..=150, Some(150))], 150, "two pages");
        check(vec![page(1..=250, Some(250))], 250, "everything at once");
        check(vec![page(1..=250, None), page(1..=250, None)], 250, "everything again and again");
        check(vec![page(1..=100, Some(100)), page([], Some(100))], 100, "a full last page");
        check(vec![page(1..=100, Some(60)), page(101..=160, Some(60))], 160, "a number that counts less");
        check(vec![page(1..=100, Some(150)), page(91..=150, Some(150)), page([], Some(150))], 150, "pages that overlap");
        let doubled = |ids: std::ops::RangeInclusive<i64>, total| page(ids.flat_map(|id| [id, id]), Some(total));
        let pages = vec![doubled(1..=100, 200), doubled(101..=200, 200), doubled(201..=254, 108), page([], Some(0))];
        check(pages, 254, "everything twice, and a number for each page");
        check(vec![page(1..=50, Some(120)), page(51..=100, Some(120)), page(101..=120, Some(120))], 120, "small pages");
    }

    #[test]
    fn half_a_list_is_refused() {
        let mut gathered = new();
        assert_eq!(gathered.add(page(1..=100, Some(250)), Ok), Ok(Next::Page));
        let refusal = gathered.add(page(1..=100, Some(250)), Ok).expect_err("the offset was ignored");
        assert_eq!(refusal, "the list ends after 100 of 250 items");
        let refusal = new().add(page([], Some(7)), Ok).expect_err("nothing came");
        assert_eq!(refusal, "the list ends after 0 of 7 items");
    }

    #[test]
    fn an_endless_list_is_cut_off() {
        let refusal = new().add(page(1..=100_001, None), Ok).expect_err("too many");
        assert_eq!(refusal, "the list has more than 100000 items");
    }

    #[test]
    fn a_list_without_data_is_refused() {
        let page: Envelope<Page<WireProject>> = Envelope { data: None, extra: None };
        assert!(new().add(page, Ok).is_err());
    }
}
