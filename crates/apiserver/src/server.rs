//! The server: dispatch of a request to discovery, OpenAPI or a resource.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderValue, Method};

use crate::go_text;
use crate::kinds::Allocated;
use crate::options::{Observer, Options};
use crate::query::Query;
use crate::registry::{Registry, Resource};
use crate::request::{Request, Response, UserInfo};
use crate::route::Route;
use crate::schema::{Schema, StructId};
use crate::status::ApiError;
use crate::store::{DataError, DataFile, HistoryLimits, NotKept, Store, Stored};
use crate::{bootstrap, custom, discovery, impersonate, openapi, pretty, rbac, read, reviews, route, sub, write};

/// One API server.
pub struct Server {
    pub(crate) options: Options,
    pub(crate) registry: Registry,
    pub(crate) store: Arc<Store>,
    /// Writers take turns: what a writer reads stays current until it commits.
    pub(crate) turn: Mutex<()>,
    /// Schemas of custom resources by `group/version/plural`.
    pub(crate) custom: Mutex<BTreeMap<String, Arc<custom::CustomSchema>>>,
    /// Addresses and ports of Services.
    pub(crate) allocated: Mutex<Allocated>,
    /// Roles and bindings, compiled; `None` after they changed.
    pub(crate) policy: Mutex<Option<Arc<rbac::Policy>>>,
    /// Who the tokens that this server knows stand for, and until when.
    pub(crate) tokens: Mutex<BTreeMap<String, (UserInfo, Option<jiff::Timestamp>)>>,
}

/// One request on a resource, taken apart.
pub(crate) struct Call<'a> {
    pub(crate) server: &'a Arc<Server>,
    pub(crate) req: &'a Request,
    pub(crate) query: Query,
    pub(crate) route: Route<'a>,
    pub(crate) resource: Arc<Resource>,
    pub(crate) warnings: Vec<String>,
    /// What was written, so that it need not be encoded again for the answer.
    pub(crate) stored: Option<Arc<Stored>>,
}

impl Call<'_> {
    /// Namespace of the path; empty when there is none.
    pub(crate) fn namespace(&self) -> &str {
        self.route.namespace.unwrap_or("")
    }

    /// Store key of an object of this resource and namespace.
    pub(crate) fn key(&self, name: &str) -> String {
        key(self.namespace(), name)
    }
}

/// Store key of an object.
pub(crate) fn key(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

impl Server {
    /// A fresh server with the objects that a real one makes itself.
    pub fn new(options: Options) -> Arc<Server> {
        let store = Store::new(limits(&options));
        let server = Self::around(options, store);
        bootstrap::fill(&server);
        server
    }

    /// The server whose state a data file holds: a fresh one when the file is new. Every change is written to the file from now on, and
    /// whoever passes answers on should first wait for [`Server::settled`].
    ///
    /// # Errors
    /// [`DataError`] when the file cannot be read.
    pub fn open(options: Options, file: DataFile) -> Result<Arc<Server>, DataError> {
        let (store, tokens) = Store::open(limits(&options), file, custom::lifecycle::LOG, custom::lifecycle::field_values)?;
        let server = Self::around(options, store);
        custom::lifecycle::restore(&server);
        crate::kinds::restore(&server);
        let known = tokens.into_iter().map(|(token, user, until)| (token, (user, Some(until))));
        server.tokens.lock().unwrap_or_else(PoisonError::into_inner).extend(known);
        bootstrap::fill(&server);
        Ok(server)
    }

    /// Writes what remains to the data file and closes it: nothing is kept any more. Without a data file nothing happens.
    pub fn close(&self) {
        self.store.close();
    }

    fn around(options: Options, store: Store) -> Arc<Server> {
        Arc::new(Server {
            options,
            registry: Registry::builtin(),
            store: Arc::new(store),
            turn: Mutex::new(()),
            custom: Mutex::new(BTreeMap::new()),
            allocated: Mutex::new(Allocated::default()),
            policy: Mutex::new(None),
            tokens: Mutex::new(BTreeMap::new()),
        })
    }

    /// Waits until everything that was answered up to now is kept: until then it must not be passed on. Without a data file there is
    /// nothing to wait for.
    ///
    /// # Errors
    /// [`NotKept`] when it never will be.
    pub async fn settled(&self) -> Result<(), NotKept> {
        self.store.settled().await
    }

    /// Waits until the data file cannot be written any more; for ever without one. The server should end then.
    pub async fn failed(&self) -> NotKept {
        self.store.failed().await
    }

    /// The settings.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What is served.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Makes a static token known, for token reviews and [`Server::user_of_token`].
    pub fn add_token(&self, token: &str, user: UserInfo) {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).insert(token.to_owned(), (user, None));
    }

    /// Who a token stands for: one made known by [`Server::add_token`] or issued by `serviceaccounts/token`.
    pub fn user_of_token(&self, token: &str) -> Option<UserInfo> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let (user, until) = tokens.get(token)?;
        if until.is_some_and(|t| self.options.clock.now() >= t) || !self.account_lives(user) {
            return None;
        }
        Some(user.clone())
    }

    /// The token of a service account is good for as long as that very account is there.
    fn account_lives(&self, user: &UserInfo) -> bool {
        let Some((ns, name)) = user.name.strip_prefix("system:serviceaccount:").and_then(|r| r.split_once(':')) else { return true };
        if user.uid.is_empty() {
            return true;
        }
        let Some(stored) = self.store.get("/serviceaccounts", &key(ns, name)) else { return false };
        serde_json::from_slice::<serde_json::Value>(&stored.bytes).is_ok_and(|d| d["metadata"]["uid"] == user.uid)
    }

    /// Answers one request. Never blocks on anything but short locks.
    pub fn handle(self: &Arc<Self>, req: &Request) -> Response {
        self.answer(req).whole()
    }

    /// Answers one request; long lists are still to be put together.
    pub(crate) fn answer(self: &Arc<Self>, req: &Request) -> Response {
        let mut response = match impersonate::acting_user(self, req) {
            Ok(None) => self.handle_as(req),
            Ok(Some(user)) => self.handle_as(&Request { user, ..req.clone() }),
            Err(e) => e.to_response(),
        };
        let is_json = response.headers.get(http::header::CONTENT_TYPE).is_some_and(|ty| ty.as_bytes().starts_with(b"application/json"));
        if is_json && !req.path.starts_with("/openapi/") && pretty::wanted(req) {
            response = response.whole();
            response.indent();
        }
        response
    }

    fn handle_as(self: &Arc<Self>, req: &Request) -> Response {
        if !req.path.starts_with("/api")
            && let Some(r) = openapi::handle(self, req)
        {
            return r;
        }
        let Some(route) = route::parse(&req.path) else {
            return match discovery::handle(self, req) {
                Some(r) => r,
                None => not_found_page(self, req),
            };
        };
        let Some(resource) = self.registry.get(route.group, route.version, route.plural) else {
            return match discovery::handle(self, req) {
                Some(r) => r,
                None => not_found_page(self, req),
            };
        };
        if resource.custom && !scope_fits(&resource, &route, req) {
            return not_found_page(self, req);
        }
        let mut call = Call { server: self, req, query: Query::parse(&req.query), route, resource, warnings: Vec::new(), stored: None };
        let mut response = match dispatch(&mut call) {
            Ok(r) => r,
            Err(mut e) => {
                call.warnings.append(&mut e.warnings);
                let r = e.to_response();
                match crate::accept::negotiate(&req.headers, crate::accept::Scope::One) {
                    Ok(a) if a.yaml => read::as_yaml(r),
                    _ => r,
                }
            }
        };
        for w in &call.warnings {
            let text: String = w.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
            if let Ok(v) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
                response.headers.append(http::header::WARNING, v);
            }
        }
        response
    }

    /// Forgets history older than the last call's revision, as etcd's compaction does.
    pub fn compact(&self) {
        let _turn = self.my_turn();
        self.store.compact();
    }

    /// The current revision.
    pub fn revision(&self) -> u64 {
        self.store.revision()
    }

    /// Sets who is told of every committed write, in order.
    pub fn observe(&self, observer: Observer) {
        self.store.observe(observer);
    }

    /// Encoded objects of a stored resource (`group/plural`, such as `apps/deployments` or `/pods`) in order of key, and the revision.
    pub fn dump(&self, storage_key: &str) -> (u64, Vec<bytes::Bytes>) {
        let (rv, items) = self.store.list(storage_key, "");
        (rv, items.iter().map(|s| s.bytes.clone()).collect())
    }

    /// Whether a user may do something with a path that is no resource: for the edge (`/metrics`).
    pub fn allows_path(&self, user: &UserInfo, verb: &str, path: &str) -> bool {
        rbac::allows_path(self, user, verb, path)
    }

    /// The schema of a resource.
    pub(crate) fn schema(&self, r: &Resource) -> Option<SchemaRef> {
        if r.custom {
            return custom::of_row(self, r).map(SchemaRef::Custom);
        }
        let root = Schema::builtin().find(&r.schema_root())?;
        Some(SchemaRef::Builtin(root))
    }

    /// The writers' turn.
    pub(crate) fn my_turn(&self) -> Turn<'_> {
        self.store.make_room();
        Turn { store: &self.store, _alone: self.turn.lock().unwrap_or_else(PoisonError::into_inner) }
    }
}

/// The turn of a writer. What it changed is kept as a whole.
#[must_use]
pub(crate) struct Turn<'a> {
    store: &'a Store,
    _alone: MutexGuard<'a, ()>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.store.publish();
    }
}

fn limits(options: &Options) -> HistoryLimits {
    HistoryLimits { events: options.history_limit, bytes: options.history_bytes }
}

/// A schema and its root type.
#[derive(Clone)]
pub(crate) enum SchemaRef {
    /// Of a built-in kind.
    Builtin(StructId),
    /// Of a custom kind.
    Custom(Arc<custom::CustomSchema>),
}

impl SchemaRef {
    pub(crate) fn schema(&self) -> &Schema {
        match self {
            SchemaRef::Builtin(_) => Schema::builtin(),
            SchemaRef::Custom(c) => &c.schema,
        }
    }

    pub(crate) fn root(&self) -> StructId {
        match self {
            SchemaRef::Builtin(r) => *r,
            SchemaRef::Custom(c) => c.root,
        }
    }
}

fn not_found_page(server: &Arc<Server>, req: &Request) -> Response {
    if let Some(r) = rbac::refuse_path(server, req) {
        return r;
    }
    // Inside a built-in group the answer is a Status, elsewhere a plain page.
    let parts: Vec<&str> = req.path.split('/').collect();
    let known = match parts.as_slice() {
        ["", "api", v, ..] => Some(("", *v)),
        ["", "apis", g, v, ..] => Some((*g, *v)),
        _ => None,
    };
    let served = known.is_some_and(|(g, _)| server.registry.served().iter().any(|r| r.group == g && !r.custom));
    if served {
        return ApiError::no_such_path().to_response();
    }
    let mut r = Response::text(http::StatusCode::NOT_FOUND, "404 page not found\n");
    r.headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    r
}

/// Whether a path has the scope of a custom resource. For one that has not the reference looks elsewhere, and finds nothing.
fn scope_fits(r: &Resource, route: &Route<'_>, req: &Request) -> bool {
    match (r.namespaced, route.namespace) {
        (false, ns) => ns.is_none(),
        (true, Some(_)) => true,
        (true, None) => route.name.is_none() && req.method == Method::GET,
    }
}

/// The verb of a request on a resource, as authorization names it.
pub(crate) fn verb(call: &Call<'_>) -> Option<&'static str> {
    let named = call.route.name.is_some();
    Some(match call.req.method {
        Method::GET => {
            if call.route.watch || (!named && call.query.flag("watch")) {
                "watch"
            } else if named {
                "get"
            } else {
                "list"
            }
        }
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if named => "delete",
        Method::DELETE => "deletecollection",
        _ => return None,
    })
}

/// What every call on an old resource is told.
const DEPRECATED: &[(&str, &str)] = &[
    ("/endpoints", "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
    ("/componentstatuses", "v1 ComponentStatus is deprecated in v1.19+"),
];

/// What custom resources have not, they have not in words of their own (`customresource_handler.go`).
fn custom_paths(call: &Call<'_>, verb: &str) -> Result<(), ApiError> {
    let r = &call.resource;
    let unsupported = || {
        let mut e = ApiError::new(405, "MethodNotAllowed", format!("{verb} is not supported on resources of kind \"{}\"", r.qualified()));
        e.details = crate::status::details(&r.group, &r.plural, "");
        e
    };
    match call.route.subresource {
        Some(sub) => match r.subresource(sub) {
            None => Err(ApiError::not_found(r, call.route.name.unwrap_or(""))),
            Some(s) if !s.verbs.iter().any(|v| v == verb) => Err(unsupported()),
            Some(_) => Ok(()),
        },
        None if verb == "create" => custom::lifecycle::refuse_new(call.server, r),
        None if verb == "update" && call.route.name.is_none() => Err(ApiError::bad_request("name must be provided")),
        None => Ok(()),
    }
}

/// What names must not be, because they are parts of paths.
fn segment_fault(name: &str) -> Option<&'static str> {
    match name {
        "." => Some("may not be '.'"),
        ".." => Some("may not be '..'"),
        _ if name.contains('/') => Some("may not contain '/'"),
        _ if name.contains('%') => Some("may not contain '%'"),
        _ => None,
    }
}

/// Refuses names that could leave the place where they belong. A namespace like that breaks the reference's key, which it admits.
fn check_segments(call: &Call<'_>, verb: &str) -> Result<(), ApiError> {
    if let Some(name) = call.route.name
        && matches!(verb, "get" | "delete")
        && let Some(fault) = segment_fault(name)
    {
        return Err(ApiError::bad_request(format!("Name parameter invalid: {name:?}: {fault}")));
    }
    let (namespace, plural) = (call.namespace(), &call.resource.plural);
    match (segment_fault(namespace), call.route.name, verb) {
        (Some(fault), _, "create") => {
            let text = format!("invalid resource name {namespace:?}: [{fault}]");
            let cause = crate::status::Cause::new("", "", text.clone());
            Err(ApiError::new(500, "InternalError", format!("Internal error occurred: {text}")).with_causes(&[cause]))
        }
        (Some(_), Some(name), _) if namespace.starts_with('.') => {
            Err(ApiError::new(500, "", format!("invalid key: \"/{plural}/{namespace}/{name}\"")))
        }
        (Some(_), None, _) if namespace.starts_with('.') => Err(ApiError::new(500, "", format!("invalid key: \"/{plural}/{namespace}\""))),
        _ => Ok(()),
    }
}

/// How long a request may take is said in Go's words for durations. Nothing here takes long, so only faults count.
fn check_timeout(call: &Call<'_>, verb: &str) -> Result<(), ApiError> {
    match call.query.opt("timeout").filter(|t| verb != "watch" && !t.is_empty()).and_then(go_text::duration_fault) {
        Some(fault) => Err(ApiError::bad_request(format!("invalid timeout specified in the request URL - {fault}"))),
        None => Ok(()),
    }
}

fn dispatch(call: &mut Call<'_>) -> Result<Response, ApiError> {
    let resource = call.resource.clone();
    let Some(verb) = verb(call) else { return Err(ApiError::method_not_allowed()) };
    rbac::check(call, verb)?;
    check_segments(call, verb)?;
    check_timeout(call, verb)?;
    if let Some((_, text)) = DEPRECATED.iter().find(|(k, _)| *k == resource.storage_key()) {
        call.warnings.push((*text).to_owned());
    }
    if let Some(own) = custom::of_row(call.server, &resource) {
        call.warnings.extend(own.warning.clone());
        custom_paths(call, verb)?;
    }
    // A cluster-scoped resource has no path below a namespace.
    if !resource.namespaced && call.route.namespace.is_some() {
        return Err(ApiError::no_such_path());
    }
    if let Some(sub) = call.route.subresource {
        let Some(s) = resource.subresource(sub) else { return Err(ApiError::no_such_path()) };
        if !s.verbs.iter().any(|v| v == verb) {
            return Err(ApiError::method_not_allowed());
        }
        return sub::dispatch(call, sub, verb);
    }
    if resource.is_virtual {
        return reviews::dispatch(call, verb);
    }
    if !resource.has_verb(verb) {
        return Err(ApiError::method_not_allowed());
    }
    // Namespaced objects are read one by one, and written, within their namespace only.
    let across = call.route.namespace.is_none() && resource.namespaced;
    match verb {
        "get" if !across => read::get(call),
        "list" => read::list(call),
        "watch" => read::watch(call),
        "create" if across => Err(ApiError::method_not_allowed()),
        "create" if call.route.name.is_some() && !resource.custom => Err(ApiError::method_not_allowed()),
        "create" => write::create::create(call),
        "update" | "patch" if call.route.name.is_none() && !resource.custom => Err(ApiError::method_not_allowed()),
        "get" | "update" | "patch" | "delete" if across => Err(ApiError::no_such_path()),
        "update" => write::update::update(call),
        "patch" => write::patch::patch(call),
        "delete" => write::delete::delete(call),
        "deletecollection" if across => Err(ApiError::method_not_allowed()),
        "deletecollection" => write::delete::delete_collection(call),
        _ => Err(ApiError::method_not_allowed()),
    }
}
