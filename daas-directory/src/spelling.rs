//! How people write their name, and the filter that finds them. What they write is data: it is
//! escaped as a value, and part of nothing else (RFC 4515, section 3).

use ldap3::ldap_escape;

/// The longest name that is asked about, in bytes: what an owner's name may have.
const NAME_BYTES_MAX: usize = 256;

/// What a directory's people write, and where it is looked for.
#[derive(Debug)]
pub(crate) struct Spelling {
    /// What the domain is called, in lower case.
    pub(crate) domains: Vec<String>,
    /// Who may sign in at all.
    pub(crate) user_filter: String,
    pub(crate) name_attribute: String,
    /// Where names with an `@` are; `None`: nowhere.
    pub(crate) principal_attribute: Option<String>,
}

/// A name as it was written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked<'a> {
    /// The user's name in our domain.
    Name(&'a str),
    /// A name with an `@`; and the name in our domain, if it is ours that stands behind it.
    Principal(&'a str, Option<&'a str>),
}

impl Spelling {
    /// What is asked by `text`; `None` where nobody of this directory can be meant.
    pub(crate) fn read<'a>(&self, text: &'a str) -> Option<Asked<'a>> {
        let text = text.trim();
        if text.is_empty() || text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
            return None;
        }
        if let Some((domain, name)) = text.split_once('\\') {
            return (self.is_ours(domain) && !name.is_empty()).then_some(Asked::Name(name));
        }
        let Some((name, domain)) = text.rsplit_once('@') else { return Some(Asked::Name(text)) };
        if name.is_empty() || domain.is_empty() {
            return None;
        }
        let ours = self.is_ours(domain).then_some(name);
        match (&self.principal_attribute, ours) {
            (None, Some(name)) => Some(Asked::Name(name)),
            (None, None) => None,
            (Some(_), ours) => Some(Asked::Principal(text, ours)),
        }
    }

    fn is_ours(&self, domain: &str) -> bool {
        let domain = domain.trim().to_lowercase();
        self.domains.contains(&domain)
    }

    /// Whether somebody with these names is who was asked for. Servers compare names in wide ways
    /// (Active Directory takes `alicé` for `alice`); here case alone is left out, so that a name has
    /// few spellings and tries are counted for the account.
    pub(crate) fn means(&self, asked: &Asked<'_>, names: &[String], principals: &[String]) -> bool {
        let among = |text: &str, given: &[String]| {
            let text = text.trim().to_lowercase();
            given.iter().any(|given| given.trim().to_lowercase() == text)
        };
        match asked {
            Asked::Name(name) => among(name, names),
            Asked::Principal(whole, ours) => {
                among(whole, principals) || ours.is_some_and(|name| among(name, names))
            }
        }
    }

    /// The filter that finds who is asked for.
    pub(crate) fn filter(&self, asked: &Asked<'_>) -> String {
        let is = |attribute: &str, text: &str| format!("({attribute}={})", ldap_escape(text));
        let named = |name: &str| is(&self.name_attribute, name);
        let principal = self.principal_attribute.as_deref().unwrap_or(&self.name_attribute);
        let who = match asked {
            Asked::Name(name) => named(name),
            Asked::Principal(whole, None) => is(principal, whole),
            Asked::Principal(whole, Some(name)) => {
                format!("(|{}{})", is(principal, whole), named(name))
            }
        };
        format!("(&{}{who})", self.user_filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelling() -> Spelling {
        Spelling {
            domains: vec!["lab".to_owned(), "lab.test".to_owned()],
            user_filter: "(a=b)".to_owned(),
            name_attribute: "sAMAccountName".to_owned(),
            principal_attribute: Some("userPrincipalName".to_owned()),
        }
    }

    #[test]
    fn every_spelling_of_a_name_is_read() {
        let check = |text: &str, wished: Option<Asked<'_>>| {
            assert_eq!(spelling().read(text), wished, "{text:?}");
        };
        check("Alice", Some(Asked::Name("Alice")));
        check(" alice ", Some(Asked::Name("alice")));
        check("LAB\\alice", Some(Asked::Name("alice")));
        check("lab.TEST\\alice", Some(Asked::Name("alice")));
        check("alice@LAB.test", Some(Asked::Principal("alice@LAB.test", Some("alice"))));
        check("alice@school.fr", Some(Asked::Principal("alice@school.fr", None)));
        check("a@b@lab", Some(Asked::Principal("a@b@lab", Some("a@b"))));
        check("anne-marie o'neil-日本", Some(Asked::Name("anne-marie o'neil-日本")));
        for nobody in ["", "  ", "OTHER\\alice", "\\alice", "LAB\\", "@lab.test", "alice@", "a\0b"]
        {
            check(nobody, None);
        }
        check(&"x".repeat(257), None);
        let plain = Spelling { principal_attribute: None, ..spelling() };
        assert_eq!(plain.read("alice@lab.test"), Some(Asked::Name("alice")));
        assert_eq!(plain.read("alice@school.fr"), None);
    }

    #[test]
    fn only_case_is_left_out_of_a_name() {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let (names, principals) = (texts(&["Alice"]), texts(&["A.Martin@School.fr"]));
        let check = |text: &str, wished: bool| {
            let spelling = spelling();
            let asked = spelling.read(text).expect(text);
            assert_eq!(spelling.means(&asked, &names, &principals), wished, "{text}");
        };
        for text in ["ALICE", "lab\\alice", "alice@lab", "a.martin@SCHOOL.fr"] {
            check(text, true);
        }
        for text in
            ["alicé", "ａlice", "alice2", "ali ce", "alice@other", "a.martin", "a.martin@lab"]
        {
            check(text, false);
        }
    }

    #[test]
    fn a_name_is_a_value_and_nothing_else() {
        let check = |asked: Asked<'_>, wished: &str| {
            let filter = spelling().filter(&asked);
            assert_eq!(filter, format!("(&(a=b){wished})"));
            assert!(ldap3::parse_filter(&filter).is_ok(), "{filter}");
        };
        check(Asked::Name("alice"), "(sAMAccountName=alice)");
        check(Asked::Name("*"), r"(sAMAccountName=\2a)");
        check(Asked::Name("*)(uid=*"), r"(sAMAccountName=\2a\29\28uid=\2a)");
        check(Asked::Name("x)(|(cn=*"), r"(sAMAccountName=x\29\28|\28cn=\2a)");
        check(Asked::Name("ali\\2ace"), r"(sAMAccountName=ali\5c2ace)");
        check(Asked::Name("a\0b"), r"(sAMAccountName=a\00b)");
        check(Asked::Name("é ß,+\"<>;=#&|!~"), "(sAMAccountName=é ß,+\"<>;=#&|!~)");
        check(Asked::Principal("*@x", None), r"(userPrincipalName=\2a@x)");
        check(
            Asked::Principal("*@lab", Some("*")),
            r"(|(userPrincipalName=\2a@lab)(sAMAccountName=\2a))",
        );
    }
}
