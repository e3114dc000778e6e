//! The permission interpreter over the check trees of the table, with Proxmox's refusals.

use crate::access::Who;
use crate::access::privileges::Privileges;
use crate::cluster::Cluster;
use crate::config::Version;
use crate::http::reply::ApiError;

use super::schema::Args;

/// What a caller must be allowed.
#[derive(Debug)]
pub(crate) enum Check {
    /// Nothing: also without signing in.
    World,
    /// To be signed in; what is shown may be filtered.
    User,
    /// All of these privileges on a path, whose `{names}` are parameters.
    All(&'static str, &'static [&'static str]),
    /// Any of these.
    Any(&'static str, &'static [&'static str]),
    /// Both.
    And(&'static Check, &'static Check),
    /// Either.
    Or(&'static Check, &'static Check),
    /// The check, and false when a parameter is missing.
    With(&'static str, &'static Check),
    /// One check up to release 8, another from 9 on.
    Since9 { before: &'static Check, since: &'static Check },
}

/// Refuses a caller who may not.
pub(crate) fn check(
    cluster: &Cluster,
    who: Option<&Who>,
    check: &Check,
    args: &Args,
) -> Result<(), ApiError> {
    if matches!(check, Check::World) {
        return Ok(());
    }
    let Some(who) = who else {
        return Err(ApiError::denied("Permission check failed (user != null)"));
    };
    if who.is_root() {
        return Ok(());
    }
    examine(cluster, who, check, args).map_err(|why| {
        ApiError::denied(match why {
            Some(why) => format!("Permission check failed ({why})"),
            None => "Permission check failed".to_owned(),
        })
    })
}

/// Whether `who` holds `privilege` on `path`.
pub(crate) fn may(cluster: &Cluster, who: &Who, path: &str, privilege: &str) -> bool {
    let wanted = Privileges::named(privilege);
    wanted.is_some_and(|w| who.is_root() || cluster.state().access.allowed(who, path).has(w))
}

/// `Err` holds what to tell in parentheses, if anything: an `or` tells nothing.
fn examine(cluster: &Cluster, who: &Who, check: &Check, args: &Args) -> Result<(), Option<String>> {
    match check {
        Check::World | Check::User => Ok(()),
        Check::All(template, names) => {
            let path = fill(template, args);
            match names.iter().find(|name| !may(cluster, who, &path, name)) {
                None => Ok(()),
                Some(name) => Err(Some(format!("{path}, {name}"))),
            }
        }
        Check::Any(template, names) => {
            let path = fill(template, args);
            if names.iter().any(|name| may(cluster, who, &path, name)) {
                return Ok(());
            }
            Err(Some(format!("{path}, {}", names.join("|"))))
        }
        Check::And(one, other) => {
            examine(cluster, who, one, args)?;
            examine(cluster, who, other, args)
        }
        Check::Or(one, other) => examine(cluster, who, one, args)
            .or_else(|_| examine(cluster, who, other, args))
            .map_err(|_| None),
        Check::With(name, _) if !args.has(name) => Err(None),
        Check::With(_, check) => examine(cluster, who, check, args),
        Check::Since9 { before, since } => match cluster.config.version {
            Version::V8_4 => examine(cluster, who, before, args),
            Version::V9_0 | Version::V9_1 | Version::V9_2 => examine(cluster, who, since, args),
        },
    }
}

fn fill(template: &str, args: &Args) -> String {
    let mut path = String::with_capacity(template.len() + 8);
    for part in template.split('/').skip(1) {
        path.push('/');
        match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
            Some(name) => path.push_str(args.text(name).unwrap_or_default()),
            None => path.push_str(part),
        }
    }
    path
}
