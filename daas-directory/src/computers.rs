//! The computer accounts of one deployment: staged for a join, removed with proof, listed by mark.

use async_trait::async_trait;
use daas_core::directory::ComputerAccounts;
use daas_core::ids::{DeploymentId, SessionId};
use daas_core::secret::Secret;
use daas_core::{Operation, Result};
use ldap3::{Scope, SearchEntry, ldap_escape};
use rand::RngExt;
use rand::distr::Alphanumeric;

use crate::client::{Attribute, Client, Connection, Query};
use crate::config::DirectoryConfig;
use crate::error::{COMPUTERS, DirectoryError, code};
use crate::mark;
use crate::names::{Names, sam_name};

/// `WORKSTATION_TRUST_ACCOUNT`, enabled (MS-ADTS 2.2.16).
const WORKSTATION: &str = "4096";
/// Characters of a one-time password drawn at random: 238 bits.
const PASSWORD_CHARACTERS: usize = 40;
/// Computers that are listed at most.
const ENTRIES_MAX: usize = 1_000_000;
/// What is read of an account.
const ATTRIBUTES: &[&str] =
    &[mark::ATTRIBUTE, "objectGUID", "sAMAccountName", "userAccountControl"];

/// The computer accounts of one deployment in one directory.
#[derive(Debug)]
pub struct Computers {
    client: Client,
    names: Names,
    deployment: DeploymentId,
}

/// An account as it was found.
struct Account {
    name: String,
    /// The name by which it is touched: it stays with the account when the account is moved, and
    /// never becomes another's.
    handle: String,
    /// The session whose it is; `None` when it is not ours.
    session: Option<SessionId>,
    enabled_workstation: bool,
}

impl Computers {
    /// The accounts that bear the mark of `deployment`. Does not connect.
    ///
    /// # Errors
    /// `Invalid`: a setting is wrong, or a file it names cannot be used.
    pub fn new(config: DirectoryConfig, deployment: DeploymentId) -> Result<Self> {
        let subject = "directory";
        let names = Names::of(&config.ou).map_err(|e| e.while_doing(Operation::Start, subject))?;
        let client = Client::new(&COMPUTERS, config.reach)
            .map_err(|e| e.while_doing(Operation::Start, subject))?;
        Ok(Self { client, names, deployment })
    }

    /// Whether the directory can be used: a server lets us in, the unit is there, and we may make
    /// computers in it. Changes nothing.
    ///
    /// # Errors
    /// What is amiss, with the way out.
    pub async fn check(&self) -> Result<()> {
        let checked = self.check_unit().await;
        checked.map_err(|error| error.while_doing(Operation::Check, "directory"))
    }

    async fn check_unit(&self) -> Result<(), DirectoryError> {
        // Which classes we may make below it (MS-ADTS 3.1.1.4.5.14).
        const CREATABLE: &str = "allowedChildClassesEffective";
        let mut connection = self.client.connect().await?;
        let unit = connection.entry("look at", &self.names.ou, &[CREATABLE]).await?;
        let unit = unit.ok_or_else(|| no_unit(&self.names.ou))?;
        let computer = |class: &String| class.eq_ignore_ascii_case("computer");
        if values(&unit, CREATABLE).iter().any(computer) {
            return Ok(());
        }
        Err(connection.forbidden("create computers in", &self.names.ou))
    }

    async fn stage_account(&self, session: &SessionId) -> Result<Secret<String>, DirectoryError> {
        let password = one_time_password();
        let mut connection = self.client.connect().await?;
        match self.find(&mut connection, session).await? {
            Some(account) => self.renew(&mut connection, session, &account, &password).await?,
            None => self.create(&mut connection, session, &password).await?,
        }
        Ok(password)
    }

    async fn create(
        &self,
        connection: &mut Connection<'_>,
        session: &SessionId,
        password: &Secret<String>,
    ) -> Result<(), DirectoryError> {
        let name = self.names.account(session);
        let result = connection.add(&name, self.attributes(session, password)).await?;
        match result.rc {
            code::SUCCESS => Ok(()),
            // Of two that stage one session at once, the later renews.
            code::ALREADY_EXISTS => match self.find(connection, session).await? {
                Some(account) => self.renew(connection, session, &account, password).await,
                None => Err(DirectoryError::Taken { name }),
            },
            code::NO_SUCH_OBJECT => Err(no_unit(&self.names.ou)),
            _ => Err(connection.said("create", &name, &result)),
        }
    }

    /// All that a join would otherwise have to write, so that the guest needs no right but its own.
    fn attributes(&self, session: &SessionId, password: &Secret<String>) -> Vec<Attribute> {
        let host = self.names.host(session);
        let principals: Vec<Vec<u8>> = ["HOST", "RestrictedKrbHost"]
            .iter()
            .flat_map(|service| [format!("{service}/{session}"), format!("{service}/{host}")])
            .map(String::into_bytes)
            .collect();
        let one = |text: &str| vec![text.as_bytes().to_vec()];
        vec![
            ("objectClass", one("computer")),
            ("sAMAccountName", one(&sam_name(session))),
            (mark::ATTRIBUTE, one(&mark::of(&self.deployment, session))),
            ("userAccountControl", one(WORKSTATION)),
            ("dNSHostName", one(&host)),
            ("servicePrincipalName", principals),
            ("unicodePwd", vec![quoted_utf16(password)]),
        ]
    }

    async fn renew(
        &self,
        connection: &mut Connection<'_>,
        session: &SessionId,
        account: &Account,
        password: &Secret<String>,
    ) -> Result<(), DirectoryError> {
        if account.session.as_ref() != Some(session) {
            return Err(DirectoryError::Taken { name: account.name.clone() });
        }
        let mut changes = vec![("unicodePwd", vec![quoted_utf16(password)])];
        if !account.enabled_workstation {
            changes.push(("userAccountControl", vec![WORKSTATION.into()]));
        }
        let result = connection.replace(&account.handle, changes).await?;
        match result.rc {
            code::SUCCESS => Ok(()),
            _ => Err(connection.said("set the password of", &account.name, &result)),
        }
    }

    async fn remove_account(&self, account: &str) -> Result<(), DirectoryError> {
        let mut connection = self.client.connect().await?;
        let session = self.names.session_of(account);
        let there = connection.entry("look for", account, ATTRIBUTES).await?;
        let found = match (there, &session) {
            (Some(entry), session) => {
                let found = self.account(&connection, entry)?;
                // Another session's, renamed by somebody, is no more this one's than a stranger's.
                let another = session.is_some() && found.session != *session;
                if found.session.is_none() || another {
                    return Err(DirectoryError::Unmarked { name: account.to_owned() });
                }
                found
            }
            // An administrator may have moved it.
            (None, Some(session)) => match self.find(&mut connection, session).await? {
                Some(found) if found.session.is_some() => found,
                _ => return Ok(()),
            },
            (None, None) => return Ok(()),
        };
        let result = connection.delete_tree(&found.handle).await?;
        match result.rc {
            // Somebody else may have been faster.
            code::SUCCESS | code::NO_SUCH_OBJECT => {}
            _ => return Err(connection.said("remove", &found.name, &result)),
        }
        self.prove_gone(&mut connection, &found).await
    }

    /// Asks the server that has removed it: others may not know yet.
    async fn prove_gone(
        &self,
        connection: &mut Connection<'_>,
        account: &Account,
    ) -> Result<(), DirectoryError> {
        let by_handle = connection.entry("look for", &account.handle, ATTRIBUTES).await?;
        let by_name = match &account.session {
            Some(session) => self.find(connection, session).await?,
            None => None,
        };
        if by_handle.is_some() || by_name.is_some_and(|found| found.session.is_some()) {
            let server = connection.server().to_owned();
            return Err(DirectoryError::Stays { server, name: account.name.clone() });
        }
        Ok(())
    }

    async fn list_accounts(&self) -> Result<Vec<(SessionId, String)>, DirectoryError> {
        let mut connection = self.client.connect().await?;
        let begins = mark::of_all(&self.deployment);
        let filter = format!(
            "(&(objectCategory=computer)({}={}*))",
            mark::ATTRIBUTE,
            ldap_escape(begins.as_str())
        );
        let query = Query {
            doing: "list computers below",
            base: &self.names.ou,
            scope: Scope::Subtree,
            filter: &filter,
            attributes: ATTRIBUTES,
        };
        let entries = connection.search(query, ENTRIES_MAX).await?;
        let entries = entries.ok_or_else(|| no_unit(&self.names.ou))?;
        let mut ours = Vec::new();
        for entry in entries {
            let account = self.account(&connection, entry)?;
            if let Some(session) = account.session {
                // The name as it was told before, also when the account was moved since.
                let name = self.names.account(&session);
                ours.push((session, name));
            }
        }
        Ok(ours)
    }

    /// The account that has the session's name, wherever in the domain and whoever's it is.
    async fn find(
        &self,
        connection: &mut Connection<'_>,
        session: &SessionId,
    ) -> Result<Option<Account>, DirectoryError> {
        let filter = format!("(sAMAccountName={})", ldap_escape(sam_name(session)));
        let query = Query {
            doing: "look for accounts in",
            base: &self.names.root,
            scope: Scope::Subtree,
            filter: &filter,
            attributes: ATTRIBUTES,
        };
        let found = connection.search(query, ENTRIES_MAX).await?;
        let mut found = found.ok_or_else(|| no_unit(&self.names.root))?;
        match (found.pop(), found.is_empty()) {
            (entry, true) => entry.map(|entry| self.account(connection, entry)).transpose(),
            (_, false) => Err(DirectoryError::Shape {
                server: connection.server().to_owned(),
                doing: query.doing,
                why: format!("{} is there more than once", sam_name(session)),
            }),
        }
    }

    fn account(
        &self,
        connection: &Connection<'_>,
        entry: SearchEntry,
    ) -> Result<Account, DirectoryError> {
        let handle = guid(&entry).map(|guid| {
            let hex: String = guid.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("<GUID={hex}>")
        });
        let handle = handle.ok_or_else(|| DirectoryError::Shape {
            server: connection.server().to_owned(),
            doing: "look at an account",
            why: format!("{} has no objectGUID", entry.dn),
        })?;
        let marked = match values(&entry, mark::ATTRIBUTE) {
            [only] => mark::session_in(only, &self.deployment),
            _ => None,
        };
        // INVARIANT: a mark that was copied to another account does not make that account ours.
        let own = |session: &SessionId| {
            let names = values(&entry, "sAMAccountName");
            matches!(names, [name] if name.eq_ignore_ascii_case(&sam_name(session)))
        };
        Ok(Account {
            session: marked.filter(own),
            enabled_workstation: values(&entry, "userAccountControl") == [WORKSTATION],
            name: entry.dn,
            handle,
        })
    }
}

#[async_trait]
impl ComputerAccounts for Computers {
    fn account(&self, session: &SessionId) -> String {
        self.names.account(session)
    }

    async fn stage(&self, session: &SessionId) -> Result<Secret<String>> {
        let staged = self.stage_account(session).await;
        staged.map_err(|error| error.while_doing(Operation::Configure, session))
    }

    async fn remove(&self, account: &str) -> Result<()> {
        let removed = self.remove_account(account).await;
        removed.map_err(|error| error.while_doing(Operation::Retract, account))
    }

    async fn list(&self) -> Result<Vec<(SessionId, String)>> {
        let listed = self.list_accounts().await;
        listed.map_err(|error| error.while_doing(Operation::Observe, "computer accounts"))
    }
}

fn no_unit(ou: &str) -> DirectoryError {
    DirectoryError::NoPlace { of: &COMPUTERS, field: "ou", name: ou.to_owned() }
}

/// The values of an attribute; servers write its name as they like.
pub(crate) fn values<'a>(entry: &'a SearchEntry, attribute: &str) -> &'a [String] {
    let named = entry.attrs.iter().find(|(name, _)| name.eq_ignore_ascii_case(attribute));
    named.map(|(_, values)| values.as_slice()).unwrap_or_default()
}

/// `objectGUID`: 16 bytes.
fn guid(entry: &SearchEntry) -> Option<[u8; 16]> {
    bytes(entry, "objectGUID")?.try_into().ok()
}

/// The first value of an attribute of bytes: ldap3 puts it among the texts when it happens to be
/// UTF-8.
pub(crate) fn bytes(entry: &SearchEntry, attribute: &str) -> Option<Vec<u8>> {
    let found = entry.bin_attrs.iter().find(|(name, _)| name.eq_ignore_ascii_case(attribute));
    match found {
        Some((_, values)) => values.first().cloned(),
        None => values(entry, attribute).first().map(|text| text.clone().into_bytes()),
    }
}

/// A password that meets every rule of complexity and needs no quoting anywhere.
fn one_time_password() -> Secret<String> {
    let random = rand::rng().sample_iter(Alphanumeric).take(PASSWORD_CHARACTERS).map(char::from);
    Secret::new(random.chain("aA1".chars()).collect())
}

/// As `unicodePwd` wants it: in quotation marks, UTF-16, little endian (MS-ADTS 3.1.1.3.1.5.1).
fn quoted_utf16(password: &Secret<String>) -> Vec<u8> {
    let quoted = std::iter::once('"').chain(password.expose().chars()).chain(['"']);
    let mut bytes = Vec::with_capacity(2 * (password.expose().len() + 2));
    for c in quoted {
        bytes.extend(c.encode_utf16(&mut [0; 2]).iter().flat_map(|unit| unit.to_le_bytes()));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_written_as_the_directory_wants_it() {
        let wished = [b"\"\0a\0".as_slice(), &[0xe9, 0], b"\"\0"].concat();
        assert_eq!(quoted_utf16(&Secret::from("aé")), wished);
    }

    #[test]
    fn one_time_passwords_differ_and_are_complex() {
        let (one, other) = (one_time_password(), one_time_password());
        assert_ne!(one, other);
        assert_eq!(one.expose().len(), PASSWORD_CHARACTERS + 3);
        assert!(one.expose().bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }

    #[test]
    fn a_guid_is_read_also_when_it_looks_like_text() {
        let text: String = "0123456789abcdef".to_owned();
        let mut entry = SearchEntry {
            dn: String::new(),
            attrs: [("objectguid".to_owned(), vec![text.clone()])].into(),
            bin_attrs: Default::default(),
        };
        assert_eq!(guid(&entry).map(Vec::from), Some(text.into_bytes()));
        entry.attrs.clear();
        entry.bin_attrs.insert("objectGUID".to_owned(), vec![vec![0xff; 16]]);
        assert_eq!(guid(&entry), Some([0xff; 16]));
        entry.bin_attrs.insert("objectGUID".to_owned(), vec![vec![0xff; 15]]);
        assert_eq!(guid(&entry), None);
    }
}
