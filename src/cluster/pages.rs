//! Lists that are read page by page, of which only what matters is kept: a namespace may hold more than should ever be in
//! memory at once.

use kube::Client;
use kube::api::ListParams;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::failure::{Class, Failure};

/// Objects a page: some megabytes of text, of which a fraction is kept for the moment.
const PAGE: u32 = 250;

/// Pages of one look. Fifty thousand objects of a kind in one namespace are beyond what clusters are built for; a look that
/// does not end proves nothing.
const MOST_PAGES: usize = 200;

/// A page as far as it matters here. Everything else of it is skipped while it is read.
#[derive(Debug, Deserialize)]
struct Page<Item> {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(default = "Vec::new")]
    items: Vec<Item>,
}

#[derive(Debug, Default, Deserialize)]
struct PageMetadata {
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

/// What is kept of all objects under a path, as it is now: nothing is answered from a cache.
///
/// # Errors
/// [`Failure`]; [`Class::Unavailable`] also for a list without an end.
pub(super) async fn kept<Item, Kept>(
    client: &Client,
    path: &str,
    parameters: ListParams,
    mut keep: impl FnMut(Item) -> Vec<Kept>,
) -> Result<Vec<Kept>, Failure>
where
    Item: DeserializeOwned,
{
    let mut found = Vec::new();
    let mut parameters = parameters.limit(PAGE);
    for _ in 0..MOST_PAGES {
        let request = kube::core::Request::new(path).list(&parameters).map_err(|error| unavailable(error.to_string()))?;
        let page: Page<Item> = client.request(request).await?;
        found.extend(page.items.into_iter().flat_map(&mut keep));
        match page.metadata.next.filter(|next| !next.is_empty()) {
            Some(next) => parameters = parameters.continue_token(&next),
            None => return Ok(found),
        }
    }
    Err(unavailable("the list has no end".to_owned()))
}

fn unavailable(detail: String) -> Failure {
    Failure { class: Class::Unavailable, detail }
}
