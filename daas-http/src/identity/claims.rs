//! Which claims of a token tell who somebody is.

use serde::Deserialize;

/// Which claims tell who somebody is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClaimNames {
    /// The one with somebody's name. It must be one that people cannot change by themselves.
    /// Default `preferred_username`.
    pub name: String,
    /// What follows an `@` in that name and is left out; a name with another one is refused.
    pub name_domain: Option<String>,
    /// The one with what people call them. Default `name`.
    pub display_name: String,
    /// The one with their groups, a list. Default `groups`.
    pub groups: String,
}

impl Default for ClaimNames {
    fn default() -> Self {
        Self {
            name: "preferred_username".to_owned(),
            name_domain: None,
            display_name: "name".to_owned(),
            groups: "groups".to_owned(),
        }
    }
}
