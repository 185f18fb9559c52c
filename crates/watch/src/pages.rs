use evenkeel_api::{Kind, Version, Watched};

use crate::{Item, ListEnd, Malformed, WatchError, Wire, bounds, transport};

/// A list that did not come to its end.
pub(crate) struct Broken {
    pub(crate) error: WatchError,
    /// Whether a later page failed: its token may have expired, and a list without pages can do.
    pub(crate) later: bool,
}

/// Lists a kind page by page, gives each item to `each` as soon as it is there, and says the version of the list.
///
/// `from`: not older than this; `None`: as new as the server can give. `limit`: objects per page; `None`: all at once.
pub(crate) async fn list<T: Watched>(
    client: &kube::Client,
    kind: Kind,
    wire: &dyn Wire<T>,
    from: Option<Version>,
    limit: Option<usize>,
    mut each: impl FnMut(Item<T>) -> Result<(), Malformed> + Send,
) -> Result<Version, Broken> {
    let (limit, from) = (limit.map(|l| l.to_string()), from.map(|v| v.to_string()));
    let mut oldest: Option<Version> = None;
    let mut token: Option<String> = None;
    for _ in 0..bounds::PAGES {
        let mut query: Vec<(&str, &str)> = limit.iter().map(|l| ("limit", l.as_str())).collect();
        match (&token, &from) {
            // A token says the version itself; servers refuse both.
            (Some(token), _) => query.push(("continue", token)),
            (None, Some(from)) => query.extend([("resourceVersion", from.as_str()), ("resourceVersionMatch", "NotOlderThan")]),
            (None, None) => {}
        }
        let page = page(client, kind, wire, &query, &mut each).await.map_err(|error| Broken { error, later: token.is_some() })?;
        // Watching from the oldest page misses nothing.
        let version = oldest.map_or(page.version, |v| v.min(page.version));
        oldest = Some(version);
        token = page.more;
        if token.is_none() {
            return Ok(version);
        }
    }
    Err(Broken { error: Malformed(format!("a list of more than {} pages", bounds::PAGES)).into(), later: true })
}

/// The newest version of a kind: what a consistent list of one object says of itself.
pub(crate) async fn newest<T: Watched>(client: &kube::Client, kind: Kind, wire: &dyn Wire<T>) -> Result<Version, WatchError> {
    Ok(page(client, kind, wire, &[("limit", "1")], &mut |_| Ok(())).await?.version)
}

async fn page<T: Watched>(
    client: &kube::Client,
    kind: Kind,
    wire: &dyn Wire<T>,
    query: &[(&str, &str)],
    each: &mut (impl FnMut(Item<T>) -> Result<(), Malformed> + Send),
) -> Result<ListEnd, WatchError> {
    let mut chunks = transport::get(client, kind, wire.accept_list(), query).await?;
    let mut reader = wire.list();
    let mut items = Vec::new();
    while let Some(chunk) = chunks.next(bounds::LIST_SILENCE).await? {
        reader.push(&chunk, &mut items)?;
        items.drain(..).try_for_each(&mut *each)?;
    }
    Ok(reader.finish()?)
}
