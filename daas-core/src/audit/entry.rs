//! One line of the log, and what its hash is over.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::act::Act;
use super::chain::{Canonical, Digest, Head, Writer};
use crate::access::Role;
use crate::ids::SessionId;
use crate::owner::Owner;

/// The form in which entries are written now.
const VERSION: u32 = 1;
/// The longest text of an entry, in letters; what is longer is cut.
const TEXT_MAX: usize = 256;

/// When, with regard to the act, an entry was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Before it, and durable before it began.
    Asked,
    /// After it, with how it ended; `answers` is the number of what was asked.
    Done,
    /// Once, with all there is to say.
    Noted,
}

impl Stage {
    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Done => "done",
            Self::Noted => "noted",
        }
    }
}

/// How it is known who somebody is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KnownBy {
    /// By the API key of that name.
    Key(String),
    /// By a bearer token of that realm's issuer.
    Token(String),
    /// By the sign-in of that id.
    SignIn(String),
    /// By a ticket that was given to who was known then.
    Ticket,
    /// By nothing but the network they call from.
    Network,
    /// By who they are on the server's own machine.
    Shell(String),
    /// It is the program itself.
    Program,
    /// Not at all.
    Nobody,
}

impl fmt::Display for KnownBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(name) => write!(f, "key:{name}"),
            Self::Token(realm) => write!(f, "token:{realm}"),
            Self::SignIn(id) => write!(f, "sign-in:{id}"),
            Self::Ticket => f.write_str("ticket"),
            Self::Network => f.write_str("network"),
            Self::Shell(user) => write!(f, "shell:{user}"),
            Self::Program => f.write_str("program"),
            Self::Nobody => f.write_str("nobody"),
        }
    }
}

/// What is to be written. Never a secret, a body, or a name that nobody has.
#[derive(Debug, Clone)]
pub struct Note {
    /// What was done.
    pub act: Act,
    /// Before it, after it, or once.
    pub stage: Stage,
    /// What it is the end of.
    pub answers: Option<u64>,
    /// Who.
    pub owner: Option<Owner>,
    /// As what.
    pub role: Option<Role>,
    /// How that is known.
    pub known_by: KnownBy,
    /// From where.
    pub address: Option<IpAddr>,
    /// To which session.
    pub session: Option<SessionId>,
    /// To what else: a key's name, a template's, whose sign-in.
    pub subject: Option<String>,
    /// How it ended, as HTTP has it.
    pub status: Option<u16>,
    /// Why it ended so, in a word or a sentence.
    pub reason: Option<String>,
    /// The request's id, under which the program's log tells more.
    pub request: Option<String>,
    /// Entries of other chains that it vouches for.
    pub links: Vec<Head>,
}

impl Note {
    /// A note that tells nothing but the act; the rest is said by struct update.
    pub fn of(act: Act, stage: Stage) -> Self {
        Self {
            act,
            stage,
            answers: None,
            owner: None,
            role: None,
            known_by: KnownBy::Nobody,
            address: None,
            session: None,
            subject: None,
            status: None,
            reason: None,
            request: None,
            links: Vec::new(),
        }
    }

    /// A note of the program about its own log.
    pub(crate) fn own(act: Act) -> Self {
        Self { known_by: KnownBy::Program, ..Self::of(act, Stage::Noted) }
    }
}

/// One line of the log. Names are kept as text, so that a newer program's entries verify too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The form it is in; 1.
    pub version: u32,
    /// Its chain.
    pub writer: Writer,
    /// Its number there, from 1.
    pub number: u64,
    /// When it was written.
    pub at: Timestamp,
    /// What was done: the name of an [`Act`].
    pub act: String,
    /// Before the act, after it, or once.
    pub stage: Stage,
    /// The number of the entry it is the end of.
    pub answers: Option<u64>,
    /// Who, `name@realm`; absent when nobody known.
    pub owner: Option<String>,
    /// As what: `user`, `operator`, `admin`.
    pub role: Option<String>,
    /// How that is known: `key:NAME`, `token:REALM`, `sign-in:ID`, `ticket`, `network`, `shell:USER`, `program`, `nobody`.
    pub known_by: String,
    /// From where.
    pub address: Option<String>,
    /// To which session.
    pub session: Option<String>,
    /// To what else.
    pub subject: Option<String>,
    /// How it ended, as HTTP has it; absent before the end, and when nobody waited for it.
    pub status: Option<u16>,
    /// Why it ended so.
    pub reason: Option<String>,
    /// The request's id.
    pub request: Option<String>,
    /// Entries of other chains that it vouches for.
    pub links: Vec<Head>,
    /// The hash of the entry before it.
    pub previous: Digest,
    /// The hash of all of the above.
    pub hash: Digest,
}

impl Entry {
    /// `note` as the entry after `previous`.
    pub(crate) fn after(previous: &Head, note: &Note, at: Timestamp) -> Self {
        let mut entry = Self {
            version: VERSION,
            writer: previous.writer.clone(),
            number: previous.number + 1,
            at,
            act: note.act.as_str().to_owned(),
            stage: note.stage,
            answers: note.answers,
            owner: note.owner.as_ref().map(|owner| text(&owner.to_string())),
            role: note.role.map(|role| role.as_str().to_owned()),
            known_by: text(&note.known_by.to_string()),
            address: note.address.map(|address| address.to_canonical().to_string()),
            session: note.session.as_ref().map(ToString::to_string),
            subject: note.subject.as_deref().map(text),
            status: note.status,
            reason: note.reason.as_deref().map(text),
            request: note.request.as_deref().map(text),
            links: note.links.clone(),
            previous: previous.hash,
            hash: previous.hash,
        };
        entry.hash = entry.digest();
        entry
    }

    /// The hash that belongs to what it says.
    pub fn digest(&self) -> Digest {
        let number = |n: Option<u64>| n.map(|n| n.to_string());
        let links = self.links.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let mut bytes = Canonical::new("daas audit entry");
        bytes.text(&self.version.to_string());
        bytes.text(&self.writer.0);
        bytes.text(&self.number.to_string());
        bytes.text(&self.at.as_nanosecond().to_string());
        bytes.text(&self.act);
        bytes.text(self.stage.as_str());
        bytes.maybe(number(self.answers).as_deref());
        bytes.maybe(self.owner.as_deref());
        bytes.maybe(self.role.as_deref());
        bytes.text(&self.known_by);
        bytes.maybe(self.address.as_deref());
        bytes.maybe(self.session.as_deref());
        bytes.maybe(self.subject.as_deref());
        bytes.maybe(number(self.status.map(u64::from)).as_deref());
        bytes.maybe(self.reason.as_deref());
        bytes.maybe(self.request.as_deref());
        bytes.text(&links);
        bytes.text(&self.previous.to_string());
        bytes.digest()
    }

    /// Its place and hash.
    pub fn head(&self) -> Head {
        Head { writer: self.writer.clone(), number: self.number, hash: self.hash }
    }
}

/// A text without letters that do something to a terminal, and not too long.
fn text(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect()
}
