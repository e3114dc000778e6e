//! The file tree of a drawn guest: absolute paths, owners, modes and symbolic links.

use std::sync::Arc;

use bytes::Bytes;

use super::{DISK_BYTES_MAX, Disk};

/// How many symbolic links a path may go through.
const LINKS_MAX: usize = 16;

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file and its contents.
    File(Bytes),
    /// A directory.
    Directory,
    /// A symbolic link and its target.
    Link(String),
}

/// One entry of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Permission bits, `0o7777` at most.
    pub mode: u32,
    /// The owner's numeric id.
    pub owner: u32,
    /// The group's numeric id.
    pub group: u32,
}

/// Why a path could not be used. The texts are those of errno.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// ENOENT.
    #[error("No such file or directory")]
    NotFound,
    /// EISDIR.
    #[error("Is a directory")]
    IsDirectory,
    /// ENOTDIR.
    #[error("Not a directory")]
    NotDirectory,
    /// EACCES.
    #[error("Permission denied")]
    Denied,
    /// EEXIST.
    #[error("File exists")]
    Exists,
    /// ENOTEMPTY.
    #[error("Directory not empty")]
    NotEmpty,
    /// ELOOP.
    #[error("Too many levels of symbolic links")]
    Loop,
    /// ENOSPC.
    #[error("No space left on device")]
    Full,
}

/// Whose rights count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// The numeric user id; 0 may do everything.
    pub uid: u32,
    /// The numeric group ids, the primary one first.
    pub gids: Vec<u32>,
}

impl Who {
    /// The superuser.
    pub fn root() -> Self {
        Self { uid: 0, gids: vec![0] }
    }

    fn may(&self, node: &Node, bit: u32) -> bool {
        let shift = if self.uid == node.owner {
            6
        } else if self.gids.contains(&node.group) {
            3
        } else {
            0
        };
        self.uid == 0 || node.mode >> shift & bit != 0
    }
}

const READ: u32 = 4;
const WRITE: u32 = 2;

impl Disk {
    /// The entry at `path`, links followed.
    pub fn stat(&self, path: &str) -> Result<&Node, FileError> {
        self.node(&self.resolve(path, true)?)
    }

    /// The entry at `path`; a link at its end is itself the answer.
    pub fn lstat(&self, path: &str) -> Result<&Node, FileError> {
        self.node(&self.resolve(path, false)?)
    }

    /// The contents of a file. Account databases are rendered from the accounts.
    pub fn read(&self, who: &Who, path: &str) -> Result<Bytes, FileError> {
        let path = self.resolve(path, true)?;
        let node = self.node(&path)?;
        if !who.may(node, READ) {
            return Err(FileError::Denied);
        }
        match (&node.kind, self.database(&path)) {
            (Kind::Directory, _) => Err(FileError::IsDirectory),
            (_, Some(text)) => Ok(text.into()),
            (Kind::File(bytes), None) => Ok(bytes.clone()),
            (Kind::Link(_), None) => Err(FileError::Loop),
        }
    }

    /// Writes a whole file; a new one gets `mode` and belongs to `who`.
    pub fn write(
        &mut self,
        who: &Who,
        path: &str,
        contents: Bytes,
        mode: u32,
    ) -> Result<(), FileError> {
        let path = self.resolve(path, true)?;
        if self.database(&path).is_some() && self.nodes.contains_key(path.as_str()) {
            // Rendered from the accounts: a write would be lost, so it is refused instead.
            return Err(FileError::Denied);
        }
        let old = match self.nodes.get(path.as_str()) {
            Some(Node { kind: Kind::Directory, .. }) => return Err(FileError::IsDirectory),
            Some(node) if !who.may(node, WRITE) => return Err(FileError::Denied),
            Some(node) => node.clone(),
            None => {
                self.writable_parent(who, &path)?;
                let group = who.gids.first().copied().unwrap_or(who.uid);
                Node { kind: Kind::File(Bytes::new()), mode, owner: who.uid, group }
            }
        };
        let kept = self.bytes - old.bytes();
        if kept + contents.len() > DISK_BYTES_MAX {
            return Err(FileError::Full);
        }
        self.bytes = kept + contents.len();
        self.nodes.insert(path.into(), Node { kind: Kind::File(contents), ..old });
        Ok(())
    }

    /// Writes as root, with every directory above it; for images and the boot.
    pub(in super::super) fn put(&mut self, path: &str, contents: impl Into<Bytes>, mode: u32) {
        let parent = path.rsplit_once('/').map_or("/", |(parent, _)| parent);
        let made = self.make_directories(&Who::root(), parent, 0o755);
        let written = made.and_then(|()| self.write(&Who::root(), path, contents.into(), 0o644));
        match written.and_then(|()| self.chmod(&Who::root(), path, mode)) {
            Ok(()) => {}
            Err(error) => tracing::warn!(path, %error, "a drawn guest's file was not written"),
        }
    }

    /// Makes one directory.
    pub fn make_directory(&mut self, who: &Who, path: &str, mode: u32) -> Result<(), FileError> {
        let path = self.resolve(path, false)?;
        if self.nodes.contains_key(path.as_str()) {
            return Err(FileError::Exists);
        }
        self.writable_parent(who, &path)?;
        let group = who.gids.first().copied().unwrap_or(who.uid);
        let node = Node { kind: Kind::Directory, mode, owner: who.uid, group };
        self.nodes.insert(path.into(), node);
        Ok(())
    }

    /// Makes a directory and what is missing above it.
    pub fn make_directories(&mut self, who: &Who, path: &str, mode: u32) -> Result<(), FileError> {
        let path = self.resolve(path, true)?;
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            let prefix = if end == 0 { "/" } else { &path[..end] };
            match self.nodes.get(prefix).map(|node| &node.kind) {
                Some(Kind::File(_)) => return Err(FileError::NotDirectory),
                Some(_) => {}
                None if prefix == "/" => {
                    let node = Node { kind: Kind::Directory, mode: 0o755, owner: 0, group: 0 };
                    self.nodes.insert("/".into(), node);
                }
                None => self.make_directory(who, prefix, mode)?,
            }
        }
        Ok(())
    }

    /// Makes a symbolic link.
    pub fn link(&mut self, who: &Who, target: &str, path: &str) -> Result<(), FileError> {
        let path = self.resolve(path, false)?;
        if self.nodes.contains_key(path.as_str()) {
            return Err(FileError::Exists);
        }
        self.writable_parent(who, &path)?;
        let group = who.gids.first().copied().unwrap_or(who.uid);
        let kind = Kind::Link(target.into());
        self.nodes.insert(path.into(), Node { kind, mode: 0o777, owner: who.uid, group });
        Ok(())
    }

    /// Removes one entry; a directory must be empty unless `whole_tree`.
    pub fn remove(&mut self, who: &Who, path: &str, whole_tree: bool) -> Result<(), FileError> {
        let path = self.resolve(path, false)?;
        self.node(&path)?;
        self.writable_parent(who, &path)?;
        if self.children(&path).next().is_some() {
            if !whole_tree {
                return Err(FileError::NotEmpty);
            }
            self.clear_below(&path);
        }
        if let Some(node) = self.nodes.remove(path.as_str()) {
            self.bytes -= node.bytes();
        }
        Ok(())
    }

    /// Moves an entry with all below it; a file at `to` is replaced.
    pub fn rename(&mut self, who: &Who, from: &str, to: &str) -> Result<(), FileError> {
        let (from, to) = (self.resolve(from, false)?, self.resolve(to, false)?);
        self.node(&from)?;
        if from == to {
            return Ok(());
        }
        self.writable_parent(who, &from)?;
        self.writable_parent(who, &to)?;
        if self.nodes.get(to.as_str()).is_some_and(|node| node.kind == Kind::Directory) {
            return Err(FileError::IsDirectory);
        }
        if to.starts_with(&format!("{from}/")) {
            return Err(FileError::Loop);
        }
        if let Some(old) = self.nodes.remove(to.as_str()) {
            self.bytes -= old.bytes();
        }
        let mut moved: Vec<Arc<str>> = self.below(&from).cloned().collect();
        moved.push(from.as_str().into());
        for path in moved {
            if let Some(node) = self.nodes.remove(&path) {
                self.nodes.insert(format!("{to}{}", &path[from.len()..]).into(), node);
            }
        }
        Ok(())
    }

    /// Sets permission bits; the owner and root may.
    pub fn chmod(&mut self, who: &Who, path: &str, mode: u32) -> Result<(), FileError> {
        let node = self.owned(who, path)?;
        node.mode = mode & 0o7777;
        Ok(())
    }

    /// Sets the owner, the group or both; only root may.
    pub fn chown(
        &mut self,
        who: &Who,
        path: &str,
        owner: Option<u32>,
        group: Option<u32>,
    ) -> Result<(), FileError> {
        if who.uid != 0 {
            return Err(FileError::Denied);
        }
        let node = self.owned(who, path)?;
        node.owner = owner.unwrap_or(node.owner);
        node.group = group.unwrap_or(node.group);
        Ok(())
    }

    /// The names directly below a directory, in order.
    pub fn children(&self, directory: &str) -> impl Iterator<Item = &str> {
        let prefix = if directory == "/" { "/".into() } else { format!("{directory}/") };
        let cut = prefix.len();
        self.below(directory).map(move |path| &path[cut..]).filter(|name| !name.contains('/'))
    }

    /// Everything below a directory, as absolute paths in order.
    pub fn below<'a>(&'a self, directory: &str) -> impl Iterator<Item = &'a Arc<str>> + use<'a> {
        let prefix = if directory == "/" { "/".into() } else { format!("{directory}/") };
        let start: Arc<str> = prefix.as_str().into();
        self.nodes
            .range(start..)
            .map(|(path, _)| path)
            .take_while(move |path| path.starts_with(&prefix))
            .filter(|path| path.len() > 1)
    }

    /// The absolute path without `.`, `..` and links; with `follow` also without one at its end.
    pub fn resolve(&self, path: &str, follow: bool) -> Result<String, FileError> {
        let mut rest: Vec<String> = path.split('/').rev().map(String::from).collect();
        let (mut done, mut links) = (String::new(), 0);
        while let Some(part) = rest.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => done.truncate(done.rfind('/').unwrap_or(0)),
                name => {
                    let at = format!("{done}/{name}");
                    match self.nodes.get(at.as_str()).map(|node| &node.kind) {
                        Some(Kind::Link(target)) if follow || !rest.is_empty() => {
                            links += 1;
                            if links > LINKS_MAX {
                                return Err(FileError::Loop);
                            }
                            if target.starts_with('/') {
                                done.clear();
                            }
                            rest.extend(target.split('/').rev().map(String::from));
                        }
                        Some(Kind::File(_)) if rest.iter().any(|part| !part.is_empty()) => {
                            return Err(FileError::NotDirectory);
                        }
                        _ => done = at,
                    }
                }
            }
        }
        Ok(if done.is_empty() { "/".into() } else { done })
    }

    pub(super) fn clear_below(&mut self, directory: &str) {
        let gone: Vec<Arc<str>> = self.below(directory).cloned().collect();
        for path in gone {
            if let Some(node) = self.nodes.remove(&path) {
                self.bytes -= node.bytes();
            }
        }
    }

    fn node(&self, resolved: &str) -> Result<&Node, FileError> {
        self.nodes.get(resolved).ok_or(FileError::NotFound)
    }

    fn owned(&mut self, who: &Who, path: &str) -> Result<&mut Node, FileError> {
        let path = self.resolve(path, true)?;
        let node = self.nodes.get_mut(path.as_str()).ok_or(FileError::NotFound)?;
        if who.uid != 0 && who.uid != node.owner { Err(FileError::Denied) } else { Ok(node) }
    }

    fn writable_parent(&self, who: &Who, path: &str) -> Result<(), FileError> {
        let parent = path.rsplit_once('/').map_or("/", |(parent, _)| parent);
        let parent = self.node(if parent.is_empty() { "/" } else { parent })?;
        match parent.kind {
            Kind::Directory if who.may(parent, WRITE) => Ok(()),
            Kind::Directory => Err(FileError::Denied),
            _ => Err(FileError::NotDirectory),
        }
    }
}

impl Node {
    fn bytes(&self) -> usize {
        match &self.kind {
            Kind::File(contents) => contents.len(),
            Kind::Directory | Kind::Link(_) => 0,
        }
    }
}
