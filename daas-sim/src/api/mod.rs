//! The API as a table: method, path, parameters, permission, handler. Two interpreters (`schema`,
//! `check`) read it, so that a further route is a further row and a function.

pub(crate) mod access;
pub(crate) mod agent;
pub(crate) mod check;
pub(crate) mod clone;
pub(crate) mod cluster;
pub(crate) mod configure;
pub(crate) mod delete;
pub(crate) mod disks;
pub(crate) mod formats;
pub(crate) mod nodes;
pub(crate) mod options;
pub(crate) mod pools;
pub(crate) mod power;
pub(crate) mod qemu;
pub(crate) mod schema;
pub(crate) mod tasks;
pub(crate) mod vnc;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::access::Who;
use crate::cluster::Cluster;
use crate::cluster::tasks::{Run, TaskFault, TaskOrder};
use crate::console::SocketRequest;
use crate::http::reply::{Answer, ApiError, Reply};
use check::Check;
use schema::{Args, Kind, Param};

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) params: &'static [Param],
    /// Whether a machine's options are parameters too.
    pub(crate) options: bool,
    pub(crate) check: Check,
    /// Whether the node in the path answers, rather than the one that was contacted.
    pub(crate) proxied: bool,
    pub(crate) handler: Handler,
}

/// What answers a call that passed both interpreters.
pub(crate) type Handler = fn(Call) -> Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A request that may be answered.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) who: Who,
    /// The node that was contacted.
    pub(crate) contacted: Arc<str>,
    /// The node in the path, or the contacted one.
    pub(crate) node: Arc<str>,
    pub(crate) args: Args,
    pub(crate) fault: Option<TaskFault>,
    /// The connection, when the client wants to switch it to a WebSocket.
    pub(crate) socket: Option<SocketRequest>,
}

/// Names an async function as a handler.
macro_rules! handler {
    ($function:path) => {
        |call| Box::pin($function(call))
    };
}
pub(crate) use handler;

/// Parameters of nearly every path.
pub(crate) const NODE: Param = Param::must("node", Kind::format(formats::node));
pub(crate) const VMID: Param = Param::must("vmid", Kind::vmid());
/// Of a path to a machine, and no more.
pub(crate) const VM_PATH: &[Param] = &[NODE, VMID];

impl Route {
    /// A route that whatever node is contacted answers.
    pub(crate) const fn new(
        method: &'static str,
        path: &'static str,
        params: &'static [Param],
        check: Check,
        handler: Handler,
    ) -> Self {
        Self { method, path, params, options: false, check, proxied: false, handler }
    }

    /// A route that the node in its path answers.
    pub(crate) const fn on_node(
        method: &'static str,
        path: &'static str,
        params: &'static [Param],
        check: Check,
        handler: Handler,
    ) -> Self {
        Self { method, path, params, options: false, check, proxied: true, handler }
    }

    /// The same with a machine's options as parameters.
    pub(crate) const fn with_options(mut self) -> Self {
        self.options = true;
        self
    }
}

const TABLES: &[&[Route]] = &[
    access::ROUTES,
    agent::ROUTES,
    clone::ROUTES,
    cluster::ROUTES,
    configure::ROUTES,
    delete::ROUTES,
    disks::ROUTES,
    nodes::ROUTES,
    pools::ROUTES,
    power::ROUTES,
    qemu::ROUTES,
    tasks::ROUTES,
    vnc::ROUTES,
];

/// The route for a path, and what its template's names stand for.
pub(crate) fn find(
    method: &str,
    parts: &[&str],
) -> Option<(&'static Route, Vec<(&'static str, String)>)> {
    TABLES
        .iter()
        .flat_map(|table| table.iter())
        .filter(|route| route.method == method)
        .find_map(|route| Some((route, fit(route.path, parts)?)))
}

fn fit(template: &'static str, parts: &[&str]) -> Option<Vec<(&'static str, String)>> {
    let mut named = Vec::new();
    let mut rest = parts.iter();
    for wanted in template[1..].split('/') {
        let part = rest.next()?;
        match wanted.strip_prefix('{').and_then(|w| w.strip_suffix('}')) {
            Some(name) => named.push((name, (*part).to_owned())),
            None if wanted == *part => {}
            None => return None,
        }
    }
    rest.next().is_none().then_some(named)
}

impl Call {
    /// The machine in the path.
    pub(crate) fn vmid(&self) -> u32 {
        self.args.int("vmid").and_then(|id| u32::try_from(id).ok()).unwrap_or(0)
    }

    /// Starts a task of this call and answers with its id.
    pub(crate) fn task<F>(&self, kind: &'static str, body: impl FnOnce(Run) -> F) -> Answer
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Reply::data(&*self.start(kind, self.vmid(), body))
    }

    /// Starts a task of this call.
    pub(crate) fn start<F>(
        &self,
        kind: &'static str,
        vmid: u32,
        body: impl FnOnce(Run) -> F,
    ) -> Arc<str>
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let order = TaskOrder {
            node: self.node.clone(),
            kind,
            vmid,
            who: self.who.clone(),
            fault: self.fault.clone(),
        };
        self.cluster.spawn(order, body)
    }

    /// Refuses a parameter that only root may give.
    pub(crate) fn root_only(&self, names: &[&str]) -> Result<(), ApiError> {
        for name in names {
            if self.args.has(name) && !self.who.is_root() {
                return Err(ApiError::parameter(name, "Only root may use this option."));
            }
        }
        Ok(())
    }

    /// Whether `privilege` is held on `path`.
    pub(crate) fn may(&self, path: &str, privilege: &str) -> bool {
        check::may(&self.cluster, &self.who, path, privilege)
    }

    /// Refuses unless `privilege` is held on `path`.
    pub(crate) fn require(&self, path: &str, privilege: &str) -> Result<(), ApiError> {
        if self.may(path, privilege) {
            return Ok(());
        }
        Err(ApiError::denied(format!("Permission check failed ({path}, {privilege})")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_declares_the_names_in_its_path_and_stands_alone() {
        let routes: Vec<&Route> = TABLES.iter().flat_map(|t| t.iter()).collect();
        for route in &routes {
            for name in route.path.split('/').filter_map(|p| p.strip_prefix('{')) {
                let name = name.trim_end_matches('}');
                let declared = route.params.iter().any(|p| p.name == name && p.required);
                assert!(declared, "{} {}: {name} is not declared", route.method, route.path);
            }
            let same = |r: &&&Route| r.path == route.path && r.method == route.method;
            assert_eq!(routes.iter().filter(same).count(), 1, "{} {}", route.method, route.path);
        }
    }

    #[test]
    fn paths_are_taken_apart() {
        let (route, named) = match find("GET", &["nodes", "pve", "qemu", "100", "config"]) {
            Some(found) => found,
            None => panic!("no route"),
        };
        assert_eq!(route.path, "/nodes/{node}/qemu/{vmid}/config");
        assert_eq!(named, [("node", "pve".to_owned()), ("vmid", "100".to_owned())]);
        assert!(find("GET", &["nonsense"]).is_none());
        assert!(find("DELETE", &["version"]).is_none());
    }
}
