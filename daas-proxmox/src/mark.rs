//! The mark: what makes a machine ours, written in the machine itself.
//!
//! A clone order carries name and description, which Proxmox writes when the clone ends; the
//! description holds the mark. It names the machine id too: a manual clone of a desktop copies the
//! description, and is told from the desktop by bearing somebody else's id.

use daas_core::ids::{DeploymentId, SessionId};

/// What the description of a machine under construction is (`PVE/API2/Qemu.pm`).
const UNDER_CONSTRUCTION: &str = "qmclone temporary file";
/// What the mark's line begins with.
const PREFIX: &str = "daas-mark:";

/// A mark as read from a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) deployment: DeploymentId,
    pub(crate) session: SessionId,
    pub(crate) vmid: u32,
}

impl Mark {
    /// The description that carries this mark.
    pub(crate) fn description(&self) -> String {
        format!(
            "Desktop of the DaaS deployment {deployment}. Made and destroyed by it; do not edit.\n\n\
             {PREFIX} {deployment} {session} {vmid}\n",
            deployment = self.deployment,
            session = self.session,
            vmid = self.vmid,
        )
    }

    /// The tag that all machines of `deployment` bear, so that one overview finds them.
    pub(crate) fn tag(deployment: &DeploymentId) -> String {
        format!("daas-{deployment}")
    }

    /// The mark in a description, if there is a whole one.
    pub(crate) fn read(description: &str) -> Option<Self> {
        let line = description.lines().find_map(|line| line.trim().strip_prefix(PREFIX))?;
        let mut words = line.split_whitespace();
        let mark = Self {
            deployment: DeploymentId::new(words.next()?).ok()?,
            session: SessionId::new(words.next()?).ok()?,
            vmid: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(mark)
    }
}

/// Whether a machine with this description is being made, and nobody can tell by whom.
pub(crate) fn is_under_construction(description: Option<&str>) -> bool {
    description.is_some_and(|text| text.trim() == UNDER_CONSTRUCTION)
}

/// Whether `tag` is among the tags of a machine, which are parted by `;`, `,` or spaces.
pub(crate) fn has_tag(tags: Option<&str>, tag: &str) -> bool {
    let parted = |c: char| matches!(c, ';' | ',' | ' ');
    tags.is_some_and(|tags| tags.split(parted).any(|t| t == tag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use daas_core::ids::SessionPrefix;

    fn mark() -> Mark {
        Mark {
            deployment: DeploymentId::mint(),
            session: SessionId::mint(&SessionPrefix::default()),
            vmid: 900_001,
        }
    }

    #[test]
    fn a_mark_survives_its_description() {
        let mark = mark();
        assert_eq!(Mark::read(&mark.description()), Some(mark.clone()));
        let noted = format!("moved by Jean\n{}\nthanks", mark.description());
        assert_eq!(Mark::read(&noted), Some(mark));
    }

    #[test]
    fn what_is_not_a_whole_mark_is_none() {
        for text in ["", "daas-mark:", "daas-mark: x y 1", " qmclone temporary file\n"] {
            assert_eq!(Mark::read(text), None, "{text:?}");
        }
        let cut = mark().description().replace(" 900001", "");
        assert_eq!(Mark::read(&cut), None);
        assert!(is_under_construction(Some(" qmclone temporary file\n")));
    }

    #[test]
    fn tags_are_compared_whole() {
        assert!(has_tag(Some("a;daas-x"), "daas-x"));
        assert!(!has_tag(Some("a;daas-xy"), "daas-x"));
        assert!(!has_tag(None, "daas-x"));
    }
}
