//! Verification: reads a log in the order in which it was written and says where it was changed.
//!
//! What it can prove ends with the last signature: who can write the store can cut or rewrite what
//! comes after that, and can cut the end of the log with its signatures. A head kept elsewhere
//! (`expect`) shows the latter.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::act::Act;
use super::chain::{Digest, Head, SignedHead, Writer};
use super::entry::{Entry, Stage};
use super::key::PublicKey;
use crate::ids::DeploymentId;

/// More breaks than these are counted only.
const BREAKS_MAX: usize = 100;
/// The longest gap over which a chain is followed.
const GAP_MAX: u64 = 1_000_000;

/// A place where the log is not as it was written: in which chain, and which entry.
#[expect(missing_docs, reason = "the fields say what their names say")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "break", rename_all = "snake_case")]
pub enum Break {
    /// An entry says something else than its hash.
    Changed { writer: Writer, number: u64 },
    /// An entry does not follow the one before it.
    NotFollowing { writer: Writer, number: u64 },
    /// Entries are missing.
    Missing { writer: Writer, from: u64, to: u64 },
    /// An entry comes twice.
    Twice { writer: Writer, number: u64 },
    /// An entry comes after later ones.
    OutOfOrder { writer: Writer, number: u64 },
    /// A chain begins as no chain of this deployment does.
    Foreign { writer: Writer },
    /// The beginning of a chain is missing, and no signed entry says that it was pruned.
    NoBeginning { writer: Writer, first: u64 },
    /// A signature is not by its key, or not for this deployment.
    Forged { writer: Writer, number: u64 },
    /// A signature is by a key that was not named.
    OtherKey { writer: Writer, number: u64, key: PublicKey },
    /// A signed entry is not the one that is there.
    Rewritten { writer: Writer, number: u64 },
    /// A signed entry is not there any more.
    Cut { writer: Writer, signed: u64, last: u64 },
    /// An entry that a later chain vouches for is not there, or is another.
    Unlinked { writer: Writer, number: u64, by: Writer },
    /// The head that was kept elsewhere is not in the log.
    NotAsExpected { writer: Writer, number: u64 },
    /// A file's last line tells of more or fewer entries or signatures than there are.
    Miscounted { says: u64, has: u64 },
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { writer, number } => {
                write!(f, "chain {writer}: entry {number} was changed after it was written")
            }
            Self::NotFollowing { writer, number } => write!(
                f,
                "chain {writer}: entry {number} does not follow entry {}: one of them was replaced",
                number.saturating_sub(1)
            ),
            Self::Missing { writer, from, to } if from == to => {
                write!(f, "chain {writer}: entry {from} is missing")
            }
            Self::Missing { writer, from, to } => {
                write!(f, "chain {writer}: entries {from} to {to} are missing")
            }
            Self::Twice { writer, number } => {
                write!(f, "chain {writer}: entry {number} comes twice")
            }
            Self::OutOfOrder { writer, number } => {
                write!(f, "chain {writer}: entry {number} comes after later ones")
            }
            Self::Foreign { writer } => {
                write!(f, "chain {writer}: was not begun by this deployment")
            }
            Self::NoBeginning { writer, first } => write!(
                f,
                "chain {writer}: begins with entry {first}, and no signed entry says that those \
                 before it were pruned"
            ),
            Self::Forged { writer, number } => {
                write!(f, "chain {writer}: the signature of entry {number} is forged")
            }
            Self::OtherKey { writer, number, key } => write!(
                f,
                "chain {writer}: the signature of entry {number} is by another key, {key}; if that \
                 key was yours, name it too"
            ),
            Self::Rewritten { writer, number } => write!(
                f,
                "chain {writer}: entry {number} is not the one that was signed: up to there the \
                 chain was rewritten"
            ),
            Self::Cut { writer, signed, last } => write!(
                f,
                "chain {writer}: ends with entry {last}, but entry {signed} was signed: its end was \
                 cut"
            ),
            Self::Unlinked { writer, number, by } => write!(
                f,
                "chain {writer}: entry {number}, which chain {by} vouches for, is missing or another"
            ),
            Self::NotAsExpected { writer, number } => write!(
                f,
                "chain {writer}: the expected entry {number} is missing or another: the log was cut \
                 or rewritten"
            ),
            Self::Miscounted { says, has } => {
                write!(f, "the file tells of {says} lines and has {has}: it was changed")
            }
        }
    }
}

/// What was found of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainReport {
    /// The number of its oldest entry.
    pub first: u64,
    /// Its newest entry.
    pub head: Head,
    /// The greatest number with a good signature; 0 for none.
    pub signed: u64,
    /// Whether its writer ended it; else it runs still, or was killed.
    pub closed: bool,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// How many entries were read.
    pub entries: u64,
    /// The chains, by their writers.
    pub chains: Vec<ChainReport>,
    /// Where the log is not as it was written; a hundred at most.
    pub breaks: Vec<Break>,
    /// How many more of these there are.
    pub more_breaks: u64,
    /// Entries after the last signature of their chain: nothing proves that they are all.
    pub unsigned: u64,
    /// Acts that were begun and whose end nobody wrote: they may have happened or not.
    pub unanswered: u64,
    /// The newest entry of all: what to keep elsewhere and to expect next time.
    pub newest: Option<Head>,
}

impl Verdict {
    /// Whether nothing was found to be changed.
    pub fn is_sound(&self) -> bool {
        self.breaks.is_empty()
    }
}

#[derive(Debug)]
struct Followed {
    /// The number before its first entry that was seen.
    base: u64,
    /// What its first entry follows.
    before: Digest,
    /// Those of its entries, from `base + 1` on; absent where one is missing.
    hashes: Vec<Option<Digest>>,
    signed: u64,
    closed: bool,
}

impl Followed {
    fn last(&self) -> u64 {
        self.base + self.hashes.len() as u64
    }

    fn hash(&self, number: u64) -> Option<Digest> {
        let index = usize::try_from(number.checked_sub(self.base)?.checked_sub(1)?).ok()?;
        self.hashes.get(index).copied().flatten()
    }
}

/// Reads a log: signatures and entries in any order, but the entries among themselves in theirs.
#[derive(Debug)]
pub struct Verifier {
    deployment: DeploymentId,
    keys: Vec<PublicKey>,
    chains: BTreeMap<Writer, Followed>,
    heads: Vec<SignedHead>,
    /// What entries vouch for: by whom, in which entry, whether it was to be pruned, what.
    links: Vec<(Writer, u64, bool, Head)>,
    asked: BTreeSet<(Writer, u64)>,
    breaks: Vec<Break>,
    more_breaks: u64,
    entries: u64,
    newest: Option<Head>,
}

impl Verifier {
    /// A verifier of this deployment's log, whose signatures are by one of `keys`.
    pub fn new(deployment: DeploymentId, keys: Vec<PublicKey>) -> Self {
        Self {
            deployment,
            keys,
            chains: BTreeMap::new(),
            heads: Vec::new(),
            links: Vec::new(),
            asked: BTreeSet::new(),
            breaks: Vec::new(),
            more_breaks: 0,
            entries: 0,
            newest: None,
        }
    }

    fn found(&mut self, found: Break) {
        if self.breaks.len() < BREAKS_MAX {
            self.breaks.push(found);
        } else {
            self.more_breaks += 1;
        }
    }

    /// What is read tells of another number of lines than it has.
    pub(crate) fn miscounted(&mut self, says: u64, has: u64) {
        self.found(Break::Miscounted { says, has });
    }

    /// A signature.
    pub fn head(&mut self, signed: &SignedHead) {
        let (writer, number) = (signed.head.writer.clone(), signed.head.number);
        if !self.keys.contains(&signed.key) {
            self.found(Break::OtherKey { writer, number, key: signed.key.clone() });
        } else if !signed.is_genuine(&self.deployment) {
            self.found(Break::Forged { writer, number });
        } else {
            self.heads.push(signed.clone());
        }
    }

    /// The next entry.
    pub fn entry(&mut self, entry: &Entry) {
        self.entries += 1;
        let (writer, number) = (entry.writer.clone(), entry.number);
        if entry.digest() != entry.hash {
            self.found(Break::Changed { writer: writer.clone(), number });
        }
        if number == 0 {
            self.found(Break::Foreign { writer });
            return;
        }
        if !self.chains.contains_key(&writer) {
            self.begin(entry);
        }
        if self.follow(entry) {
            self.newest = Some(entry.head());
            self.read(entry);
        }
    }

    fn begin(&mut self, entry: &Entry) {
        let writer = entry.writer.clone();
        if entry.number == 1 && entry.previous != writer.genesis(&self.deployment) {
            self.found(Break::Foreign { writer: writer.clone() });
        }
        let followed = Followed {
            base: entry.number - 1,
            before: entry.previous,
            hashes: Vec::new(),
            signed: 0,
            closed: false,
        };
        self.chains.insert(writer, followed);
    }

    /// Puts the entry in its place; whether it has one.
    fn follow(&mut self, entry: &Entry) -> bool {
        let (writer, number) = (entry.writer.clone(), entry.number);
        let Some(chain) = self.chains.get_mut(&writer) else { return false };
        let (next, base) = (chain.last() + 1, chain.base);
        let mut found = Vec::new();
        if number > next {
            found.push(Break::Missing { writer: writer.clone(), from: next, to: number - 1 });
            if number - next > GAP_MAX {
                found.into_iter().for_each(|one| self.found(one));
                return false;
            }
            chain.hashes.extend((next..number).map(|_| None));
        }
        if number < next {
            let there = number > base && chain.hash(number).is_some();
            found.push(match there {
                true => Break::Twice { writer, number },
                false => Break::OutOfOrder { writer, number },
            });
            if !there && number > base {
                let index = usize::try_from(number - base - 1).unwrap_or(usize::MAX);
                if let Some(place) = chain.hashes.get_mut(index) {
                    *place = Some(entry.hash);
                }
            }
            found.into_iter().for_each(|one| self.found(one));
            return !there && number > base;
        }
        let before = if number == base + 1 { Some(chain.before) } else { chain.hash(number - 1) };
        if before.is_some_and(|before| before != entry.previous) {
            found.push(Break::NotFollowing { writer, number });
        }
        chain.hashes.push(Some(entry.hash));
        chain.closed = entry.act == Act::LogClosed.as_str();
        found.into_iter().for_each(|one| self.found(one));
        true
    }

    /// What the entry says of others.
    fn read(&mut self, entry: &Entry) {
        let prunes = entry.act == Act::LogPruned.as_str();
        for link in &entry.links {
            self.links.push((entry.writer.clone(), entry.number, prunes, link.clone()));
        }
        match (entry.stage, entry.answers) {
            (Stage::Asked, _) => drop(self.asked.insert((entry.writer.clone(), entry.number))),
            (Stage::Done, Some(number)) => {
                self.asked.remove(&(entry.writer.clone(), number));
            }
            _ => {}
        }
    }

    /// What was found, when all was read. `expect`: heads that were kept elsewhere.
    pub fn finish(mut self, expect: &[Head]) -> Verdict {
        let heads = std::mem::take(&mut self.heads);
        let torn: Vec<Break> = heads.into_iter().filter_map(|h| self.check_head(h.head)).collect();
        let links = std::mem::take(&mut self.links);
        // Of what was to be pruned only that counts which a signature covers.
        let signed = |writer: &Writer| self.chains.get(writer).map_or(0, |chain| chain.signed);
        let marks: Vec<&Head> = links
            .iter()
            .filter(|(by, at, prunes, _)| *prunes && *at <= signed(by))
            .map(|(.., head)| head)
            .collect();
        let pruned = |writer: &Writer, number: u64| {
            marks.iter().any(|mark| &mark.writer == writer && mark.number >= number)
        };
        let is_pruned = |one: &Break| matches!(one, Break::Cut { writer, signed, .. } if pruned(writer, *signed));
        let mut found: Vec<Break> = torn.into_iter().filter(|one| !is_pruned(one)).collect();
        for (writer, chain) in self.chains.iter().filter(|(_, chain)| chain.base > 0) {
            let is_mark = |mark: &&&Head| {
                &mark.writer == writer && mark.number == chain.base && mark.hash == chain.before
            };
            if !marks.iter().any(|mark| is_mark(&mark)) {
                let first = chain.base + 1;
                found.push(Break::NoBeginning { writer: writer.clone(), first });
            }
        }
        for (by, _, _, head) in links.iter().filter(|(_, _, prunes, _)| !prunes) {
            if !self.holds(head) && !pruned(&head.writer, head.number) {
                let (writer, number) = (head.writer.clone(), head.number);
                found.push(Break::Unlinked { writer, number, by: by.clone() });
            }
        }
        for head in expect.iter().filter(|head| !self.holds(head)) {
            if !pruned(&head.writer, head.number) {
                let (writer, number) = (head.writer.clone(), head.number);
                found.push(Break::NotAsExpected { writer, number });
            }
        }
        found.into_iter().for_each(|one| self.found(one));
        self.verdict()
    }

    /// Compares a good signature with what is there.
    fn check_head(&mut self, head: Head) -> Option<Break> {
        let Head { writer, number, hash } = head;
        let Some(chain) = self.chains.get_mut(&writer) else {
            return Some(Break::Cut { writer, signed: number, last: 0 });
        };
        let last = chain.last();
        match chain.hash(number) {
            Some(there) if there == hash => {
                chain.signed = chain.signed.max(number);
                None
            }
            Some(_) => Some(Break::Rewritten { writer, number }),
            None if number > last => Some(Break::Cut { writer, signed: number, last }),
            // Missing in the middle, which was said, or pruned.
            None => None,
        }
    }

    fn holds(&self, head: &Head) -> bool {
        self.chains.get(&head.writer).and_then(|chain| chain.hash(head.number)) == Some(head.hash)
    }

    fn verdict(self) -> Verdict {
        let report = |(writer, chain): (&Writer, &Followed)| {
            let last = chain.last();
            let hash = chain.hash(last).unwrap_or(chain.before);
            ChainReport {
                first: chain.base + 1,
                head: Head { writer: writer.clone(), number: last, hash },
                signed: chain.signed,
                closed: chain.closed,
            }
        };
        let unsigned = |chain: &Followed| chain.last() - chain.signed.max(chain.base);
        Verdict {
            entries: self.entries,
            chains: self.chains.iter().map(report).collect(),
            unsigned: self.chains.values().map(unsigned).sum(),
            unanswered: self.asked.len() as u64,
            breaks: self.breaks,
            more_breaks: self.more_breaks,
            newest: self.newest,
        }
    }
}
