//! Local accounts and groups of a drawn guest, and the databases rendered from them.

use super::{Disk, FileError, Kind, Node, Who};

/// The password field of an account nobody can log in to by password.
pub(in super::super) const NO_PASSWORD: &str = "!";

/// The first numeric id that `useradd` and `groupadd` give.
const FIRST_ID: u32 = 1000;

/// A local account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The numeric id.
    pub uid: u32,
    /// The primary group's numeric id.
    pub gid: u32,
    /// The password as a crypt(3) string; anything else (`!`, `*`) fits no password.
    pub password: String,
    /// The real name.
    pub comment: String,
    /// The home directory.
    pub home: String,
    /// The login shell.
    pub shell: String,
}

/// A local group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// The numeric id.
    pub gid: u32,
    /// Members other than those whose primary group it is, in order.
    pub members: Vec<String>,
}

impl Disk {
    /// The rights of an account; `None` when there is none of that name.
    pub fn who(&self, name: &str) -> Option<Who> {
        let account = self.accounts.get(name)?;
        let mut gids = vec![account.gid];
        let more = self.groups.values().filter(|group| group.members.iter().any(|m| m == name));
        gids.extend(more.map(|group| group.gid).filter(|gid| *gid != account.gid));
        Some(Who { uid: account.uid, gids })
    }

    /// The name of the account with that numeric id.
    pub fn account_name(&self, uid: u32) -> Option<&str> {
        self.accounts.iter().find(|(_, account)| account.uid == uid).map(|(name, _)| name.as_str())
    }

    /// The name of the group with that numeric id.
    pub fn group_name(&self, gid: u32) -> Option<&str> {
        self.groups.iter().find(|(_, group)| group.gid == gid).map(|(name, _)| name.as_str())
    }

    /// Adds a group with the next free id (or the one wanted); one that is there already is kept.
    pub fn add_group(&mut self, name: &str, gid: Option<u32>) -> u32 {
        if let Some(group) = self.groups.get(name) {
            return group.gid;
        }
        let gid = gid.unwrap_or_else(|| {
            next_id(self.groups.values().map(|group| group.gid))
                .max(next_id(self.accounts.values().map(|account| account.uid)))
        });
        self.groups.insert(name.into(), Group { gid, members: Vec::new() });
        gid
    }

    /// Adds an account with a group of its own name, and its home directory when asked to.
    pub fn add_account(
        &mut self,
        name: &str,
        home: &str,
        with_home: bool,
    ) -> Result<&mut Account, FileError> {
        let gid = self.add_group(name, None);
        let uid = next_id(self.accounts.values().map(|account| account.uid));
        let account = Account {
            uid,
            gid,
            password: NO_PASSWORD.into(),
            comment: String::new(),
            home: home.into(),
            shell: "/bin/bash".into(),
        };
        if with_home {
            self.make_directories(&Who::root(), home, 0o755)?;
            self.chown(&Who::root(), home, Some(uid), Some(gid))?;
            self.chmod(&Who::root(), home, 0o700)?;
            self.furnish(home, uid, gid)?;
        }
        Ok(self.accounts.entry(name.into()).insert_entry(account).into_mut())
    }

    /// Copies what a new home starts with.
    fn furnish(&mut self, home: &str, uid: u32, gid: u32) -> Result<(), FileError> {
        let root = Who::root();
        let paths: Vec<_> = self.below("/etc/skel").cloned().collect();
        for from in paths {
            let Some(name) = from.strip_prefix("/etc/skel") else { continue };
            let to = format!("{home}{name}");
            let Node { kind, mode, .. } = self.lstat(&from)?.clone();
            match kind {
                Kind::Directory => self.make_directory(&root, &to, mode)?,
                Kind::File(contents) => self.write(&root, &to, contents, mode)?,
                Kind::Link(target) => {
                    self.link(&root, &target, &to)?;
                    continue;
                }
            }
            self.chown(&root, &to, Some(uid), Some(gid))?;
        }
        Ok(())
    }

    /// Makes an account a member of a group; `false` when there is no such group.
    pub fn join_group(&mut self, name: &str, group: &str) -> bool {
        let Some(group) = self.groups.get_mut(group) else { return false };
        if !group.members.iter().any(|member| member == name) {
            group.members.push(name.into());
        }
        true
    }

    /// Removes an account, its memberships and the group of its own name when that is empty.
    pub fn remove_account(&mut self, name: &str) -> Option<Account> {
        let account = self.accounts.remove(name)?;
        for group in self.groups.values_mut() {
            group.members.retain(|member| member != name);
        }
        let own = self.groups.get(name);
        if own.is_some_and(|group| group.gid == account.gid && group.members.is_empty()) {
            self.groups.remove(name);
        }
        Some(account)
    }

    /// A line of `getent passwd`.
    pub fn passwd_line(&self, name: &str) -> Option<String> {
        let Account { uid, gid, comment, home, shell, .. } = self.accounts.get(name)?;
        Some(format!("{name}:x:{uid}:{gid}:{comment}:{home}:{shell}\n"))
    }

    /// A line of `getent group`.
    pub fn group_line(&self, name: &str) -> Option<String> {
        let group = self.groups.get(name)?;
        Some(format!("{name}:x:{}:{}\n", group.gid, group.members.join(",")))
    }

    /// A line of `getent shadow`.
    pub fn shadow_line(&self, name: &str) -> Option<String> {
        let account = self.accounts.get(name)?;
        Some(format!("{name}:{}:20000:0:99999:7:::\n", account.password))
    }

    /// The account databases, which are no files of their own here.
    pub(super) fn database(&self, path: &str) -> Option<String> {
        match path {
            "/etc/passwd" => {
                Some(self.accounts.keys().filter_map(|n| self.passwd_line(n)).collect())
            }
            "/etc/group" => Some(self.groups.keys().filter_map(|n| self.group_line(n)).collect()),
            "/etc/shadow" => {
                Some(self.accounts.keys().filter_map(|n| self.shadow_line(n)).collect())
            }
            _ => None,
        }
    }
}

fn next_id(used: impl Iterator<Item = u32>) -> u32 {
    used.filter(|id| *id < 60_000).max().map_or(FIRST_ID, |highest| (highest + 1).max(FIRST_ID))
}
