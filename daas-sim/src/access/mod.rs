//! Who may do what: users, tokens, groups, roles and access control lists, as Proxmox resolves them.
//!
//! Source of the rules: pve-access-control, `AccessControl.pm` (`roles`) and `RPCEnvironment.pm`.

pub(crate) mod privileges;
pub(crate) mod ticket;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use crate::config::{Grant, SimConfig, TokenConfig, UserConfig, Version};
use privileges::{NO_ACCESS, Privileges};

/// The one user who may do everything.
pub(crate) const ROOT: &str = "root@pam";

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Who {
    /// `name@realm`.
    pub(crate) user: String,
    /// The token's name, when one is used.
    pub(crate) token: Option<String>,
}

/// What is known of users and their rights.
#[derive(Debug)]
pub(crate) struct Access {
    users: HashMap<String, UserConfig>,
    tokens: HashMap<String, TokenConfig>,
    roles: HashMap<String, Privileges>,
    acl: BTreeMap<String, Vec<Grant>>,
    /// The members of each pool.
    pub(crate) pools: BTreeMap<String, BTreeSet<u32>>,
}

/// Why the configuration of users and rights makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A privilege nobody knows.
    #[error("role {role:?}: no privilege {privilege:?}")]
    Privilege {
        /// The role.
        role: String,
        /// The privilege.
        privilege: String,
    },
    /// A role nobody defined.
    #[error("grant on {path:?}: no role {role:?}")]
    Role {
        /// The path.
        path: String,
        /// The role.
        role: String,
    },
    /// A user nobody defined.
    #[error("no user {0:?}; add it to users")]
    User(String),
}

impl Who {
    pub(crate) fn user(user: &str) -> Self {
        Self { user: user.to_owned(), token: None }
    }

    pub(crate) fn is_root(&self) -> bool {
        self.user == ROOT && self.token.is_none()
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.token {
            Some(token) => write!(f, "{}!{token}", self.user),
            None => f.write_str(&self.user),
        }
    }
}

impl Access {
    pub(crate) fn new(config: &SimConfig) -> Result<Self, AccessError> {
        let mut access = Self {
            users: config.users.iter().map(|u| (u.id.clone(), u.clone())).collect(),
            tokens: HashMap::new(),
            roles: privileges::built_in_roles(config.version),
            acl: BTreeMap::new(),
            pools: config.pools.iter().map(|p| (p.clone(), BTreeSet::new())).collect(),
        };
        for role in &config.roles {
            access.add_role(config.version, &role.name, &role.privileges)?;
        }
        for token in &config.tokens {
            if !access.users.contains_key(&token.user) {
                return Err(AccessError::User(token.user.clone()));
            }
            access.tokens.insert(format!("{}!{}", token.user, token.name), token.clone());
        }
        for grant in &config.acl {
            if !access.roles.contains_key(&grant.role) {
                let (path, role) = (grant.path.clone(), grant.role.clone());
                return Err(AccessError::Role { path, role });
            }
            access.acl.entry(normal(&grant.path)).or_default().push(grant.clone());
        }
        Ok(access)
    }

    pub(crate) fn users(&self) -> impl Iterator<Item = &UserConfig> {
        self.users.values()
    }

    pub(crate) fn user_config(&self, user: &str) -> Option<&UserConfig> {
        self.users.get(user)
    }

    pub(crate) fn token_config(&self, full: &str) -> Option<&TokenConfig> {
        self.tokens.get(full)
    }

    /// The pool a machine is in.
    pub(crate) fn pool_of(&self, vmid: u32) -> Option<&str> {
        self.pools.iter().find(|(_, members)| members.contains(&vmid)).map(|(id, _)| id.as_str())
    }

    /// Forgets a machine: its entries and its pool.
    pub(crate) fn forget_vm(&mut self, vmid: u32) {
        self.acl.remove(&format!("/vms/{vmid}"));
        for members in self.pools.values_mut() {
            members.remove(&vmid);
        }
    }

    /// Every path something is granted on.
    pub(crate) fn granted_paths(&self) -> impl Iterator<Item = &str> {
        self.acl.keys().map(String::as_str)
    }

    /// What `who` may do on `path`.
    pub(crate) fn allowed(&self, who: &Who, path: &str) -> Privileges {
        let Some(name) = &who.token else {
            return self.allowed_name(&who.user, path);
        };
        let full = format!("{}!{name}", who.user);
        match self.tokens.get(&full) {
            None => Privileges::default(),
            Some(token) if !token.privsep => self.allowed_name(&who.user, path),
            Some(_) => self.allowed_name(&full, path) & self.allowed_name(&who.user, path),
        }
    }

    fn allowed_name(&self, name: &str, path: &str) -> Privileges {
        if name == ROOT {
            return Privileges::all();
        }
        let roles = self.roles_on(name, path);
        if roles.contains_key(NO_ACCESS) {
            return Privileges::default();
        }
        let mut allowed = self.privileges_of(roles.keys().copied());
        let pool = path.strip_prefix("/vms/").and_then(|id| self.pool_of(id.parse().ok()?));
        if let Some(pool) = pool {
            let pooled = self.roles_on(name, &format!("/pool/{pool}"));
            if !pooled.contains_key(NO_ACCESS) {
                allowed = allowed | self.privileges_of(pooled.keys().copied());
            }
        }
        allowed
    }

    fn privileges_of<'a>(&self, roles: impl Iterator<Item = &'a str>) -> Privileges {
        roles
            .filter_map(|role| self.roles.get(role))
            .fold(Privileges::default(), |all, role| all | *role)
    }

    /// The roles on `path`: each level's entries replace what was inherited; a name's own entries
    /// hide those of its groups.
    fn roles_on<'a>(&'a self, name: &str, path: &str) -> BTreeMap<&'a str, bool> {
        let path = normal(path);
        let mut roles = BTreeMap::new();
        for level in levels(&path) {
            let last = level == path;
            let entries = self.acl.get(level).map(Vec::as_slice).unwrap_or_default();
            let usable = |grant: &&Grant| last || grant.propagate;
            let mut here: BTreeMap<&str, bool> = entries
                .iter()
                .filter(|g| g.to == name)
                .filter(usable)
                .map(|g| (g.role.as_str(), g.propagate))
                .collect();
            if here.is_empty() {
                here = entries
                    .iter()
                    .filter(|g| self.in_group(name, &g.to))
                    .filter(usable)
                    .map(|g| (g.role.as_str(), g.propagate))
                    .collect();
            }
            if !here.is_empty() {
                roles = here;
            }
        }
        roles
    }

    fn in_group(&self, name: &str, to: &str) -> bool {
        let group = to.strip_prefix('@');
        group.is_some_and(|g| self.users.get(name).is_some_and(|u| u.groups.iter().any(|x| x == g)))
    }

    fn add_role(
        &mut self,
        version: Version,
        role: &str,
        names: &[String],
    ) -> Result<(), AccessError> {
        let mut privileges = Privileges::default();
        for privilege in names {
            let one = Privileges::named(privilege).ok_or_else(|| AccessError::Privilege {
                role: role.to_owned(),
                privilege: privilege.clone(),
            })?;
            privileges = privileges | one;
        }
        self.roles.insert(role.to_owned(), privileges & Privileges::known_to(version));
        Ok(())
    }
}

/// A path with one slash before each part and none at the end.
fn normal(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for part in path.split('/').filter(|p| !p.is_empty()) {
        out.push('/');
        out.push_str(part);
    }
    if out.is_empty() {
        out.push('/');
    }
    out
}

/// `/`, `/a`, `/a/b` for `/a/b`.
fn levels(path: &str) -> impl Iterator<Item = &str> {
    let inner = path.char_indices().skip(1).filter(|(_, c)| *c == '/').map(|(i, _)| &path[..i]);
    let last = (path != "/").then_some(path);
    std::iter::once("/").chain(inner).chain(last)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    fn access(acl: Vec<Grant>) -> Access {
        let mut student = UserConfig::new("s@pve", None);
        student.groups = vec!["students".to_owned()];
        let token = |name: &str, privsep| TokenConfig {
            user: "s@pve".to_owned(),
            name: name.to_owned(),
            secret: "x".to_owned(),
            privsep,
            expire: 0,
        };
        Access::new(&SimConfig {
            users: vec![student],
            tokens: vec![token("own", true), token("full", false)],
            acl,
            ..SimConfig::default()
        })
        .unwrap()
    }

    fn may(access: &Access, who: &str, path: &str, privilege: &str) -> bool {
        let (user, token) = match who.split_once('!') {
            Some((user, token)) => (user, Some(token.to_owned())),
            None => (who, None),
        };
        let who = Who { user: user.to_owned(), token };
        access.allowed(&who, path).has(Privileges::named(privilege).unwrap())
    }

    #[test]
    fn deeper_entries_replace_inherited_ones() {
        let access = access(vec![
            Grant::new("/vms", "s@pve", "PVEVMAdmin"),
            Grant::new("/vms/100", "s@pve", "PVEVMUser"),
        ]);
        assert!(may(&access, "s@pve", "/vms/101", "VM.Allocate"));
        assert!(!may(&access, "s@pve", "/vms/100", "VM.Allocate"));
        assert!(may(&access, "s@pve", "/vms/100", "VM.PowerMgmt"));
        assert!(!may(&access, "s@pve", "/", "VM.Audit"));
    }

    #[test]
    fn without_propagation_only_the_path_itself_counts() {
        let grant = Grant { propagate: false, ..Grant::new("/vms", "s@pve", "PVEVMUser") };
        let access = access(vec![grant]);
        assert!(may(&access, "s@pve", "/vms", "VM.Audit"));
        assert!(!may(&access, "s@pve", "/vms/100", "VM.Audit"));
    }

    #[test]
    fn own_entries_hide_those_of_groups() {
        let access = access(vec![
            Grant::new("/vms", "@students", "PVEVMAdmin"),
            Grant::new("/vms", "s@pve", "PVEVMUser"),
            Grant::new("/nodes", "@students", "PVEAuditor"),
        ]);
        assert!(!may(&access, "s@pve", "/vms/100", "VM.Allocate"));
        assert!(may(&access, "s@pve", "/nodes/pve", "Sys.Audit"));
    }

    #[test]
    fn a_separated_token_has_what_both_have() {
        let access = access(vec![
            Grant::new("/vms", "s@pve", "PVEVMUser"),
            Grant::new("/vms/100", "s@pve!own", "PVEVMAdmin"),
        ]);
        assert!(may(&access, "s@pve!own", "/vms/100", "VM.PowerMgmt"));
        assert!(!may(&access, "s@pve!own", "/vms/100", "VM.Allocate"));
        assert!(!may(&access, "s@pve!own", "/vms/101", "VM.Audit"));
        assert!(may(&access, "s@pve!full", "/vms/101", "VM.Audit"));
    }

    #[test]
    fn pool_members_have_the_pools_roles_and_no_access_ends_all() {
        let mut access = access(vec![
            Grant::new("/pool/daas", "s@pve", "PVEVMUser"),
            Grant::new("/vms/101", "s@pve", "NoAccess"),
        ]);
        access.pools.get_mut("daas").unwrap().extend([100, 101]);
        assert!(may(&access, "s@pve", "/vms/100", "VM.PowerMgmt"));
        assert!(!may(&access, "s@pve", "/vms/101", "VM.PowerMgmt"));
        assert!(!may(&access, "s@pve", "/vms/102", "VM.PowerMgmt"));
    }
}
