//! Names in the directory: the domain of an organisational unit, and what a session's account is
//! called.

use daas_core::ids::SessionId;

use crate::error::{COMPUTERS, DirectoryError};

/// The names of one domain and one unit in it.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// The unit, as configured.
    pub(crate) ou: String,
    /// The domain's root, `DC=lab,DC=test`.
    pub(crate) root: String,
    /// The domain's DNS name, `lab.test`.
    pub(crate) domain: String,
}

impl Names {
    /// Reads them from a unit's distinguished name.
    pub(crate) fn of(ou: &str) -> Result<Self, DirectoryError> {
        let form = "is not of the form OU=Desktops,DC=lab,DC=test";
        let refuse = || COMPUTERS.wrong("ou", format!("{ou:?} {form}"));
        let parts = components(ou);
        let pairs: Option<Vec<(&str, &str)>> =
            parts.iter().map(|part| part.trim().split_once('=')).collect();
        let pairs = pairs.ok_or_else(refuse)?;
        let is_domain = |(kind, _): &&(&str, &str)| kind.trim().eq_ignore_ascii_case("dc");
        let labels: Vec<&str> =
            pairs.iter().rev().take_while(is_domain).map(|(_, label)| label.trim()).collect();
        let domain: Vec<&str> = labels.into_iter().rev().collect();
        let label =
            |l: &&str| !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let whole = pairs.iter().all(|(kind, value)| !kind.is_empty() && !value.is_empty());
        if domain.is_empty() || domain.len() == pairs.len() || !whole || !domain.iter().all(label) {
            return Err(refuse());
        }
        let root: Vec<String> = domain.iter().map(|label| format!("DC={label}")).collect();
        Ok(Self {
            ou: ou.trim().to_owned(),
            root: root.join(","),
            domain: domain.join(".").to_lowercase(),
        })
    }

    /// The distinguished name of a session's account.
    pub(crate) fn account(&self, session: &SessionId) -> String {
        // A session id holds nothing that would have to be escaped.
        format!("CN={session},{}", self.ou)
    }

    /// The session of which an account with this distinguished name could be.
    pub(crate) fn session_of(&self, account: &str) -> Option<SessionId> {
        let parts = components(account);
        let (kind, value) = parts.first()?.split_once('=')?;
        let session =
            kind.trim().eq_ignore_ascii_case("cn").then(|| value.trim().to_lowercase())?;
        SessionId::new(session).ok()
    }

    /// The host's full name.
    pub(crate) fn host(&self, session: &SessionId) -> String {
        format!("{session}.{}", self.domain)
    }
}

/// The account's name of before Windows 2000, unique in its domain: `desktop-7f3k2mq$`.
pub(crate) fn sam_name(session: &SessionId) -> String {
    format!("{session}$")
}

/// The components of a distinguished name (RFC 4514), their escapes left as they are.
pub(crate) fn components(name: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in name.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&name[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&name[start..]);
    parts
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_unit_names_its_domain() {
        let check = |ou: &str, wished: Option<(&str, &str)>| {
            let names = Names::of(ou).ok();
            let found = names.as_ref().map(|n| (n.root.as_str(), n.domain.as_str()));
            assert_eq!(found, wished, "{ou:?}");
        };
        check("OU=Desktops,DC=lab,DC=test", Some(("DC=lab,DC=test", "lab.test")));
        check("ou=a, ou=B ,dc=Lab, dc=TEST", Some(("DC=Lab,DC=TEST", "lab.test")));
        check(r"OU=Rooms\, west,DC=lab", Some(("DC=lab", "lab")));
        check("CN=Computers,DC=lab,DC=test", Some(("DC=lab,DC=test", "lab.test")));
        for bad in
            ["", "OU=Desktops", "DC=lab,DC=test", "OU=a,DC=", "OU=,DC=b", "x,DC=b", "OU=a,DC=b\\,c"]
        {
            check(bad, None);
        }
    }

    #[test]
    fn an_account_tells_its_session() {
        let names = Names::of("OU=Desktops,DC=lab,DC=test").unwrap();
        let session = SessionId::new("desktop-2222222").unwrap();
        let account = names.account(&session);
        assert_eq!(account, "CN=desktop-2222222,OU=Desktops,DC=lab,DC=test");
        assert_eq!(names.session_of(&account), Some(session.clone()));
        assert_eq!(names.session_of("cn=DESKTOP-2222222,OU=Moved,DC=lab"), Some(session));
        assert_eq!(names.session_of("OU=Desktops,DC=lab,DC=test"), None);
        assert_eq!(names.session_of("CN=reception pc,DC=lab"), None);
    }
}
