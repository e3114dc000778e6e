//! The parameter schema interpreter, with the texts of pve-common's `JSONSchema.pm`.

use std::collections::BTreeMap;

use super::options::VmOption;
use crate::http::params::{Given, Params};
use crate::http::reply::ApiError;

/// One parameter. A name that ends in `[n]` stands for `name0`, `name1` and so on.
#[derive(Debug)]
pub(crate) struct Param {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
}

/// What a parameter may be.
#[derive(Debug)]
pub(crate) enum Kind {
    Bool,
    Int {
        min: i64,
        max: i64,
    },
    Number {
        min: f64,
        max: f64,
    },
    Text {
        max: usize,
    },
    Enum(&'static [&'static str]),
    /// A named format; the check says what is wrong.
    Format {
        max: usize,
        check: fn(&str) -> Result<(), String>,
    },
    /// A pattern, as a predicate.
    Pattern(fn(&str) -> bool),
    Array,
}

/// Parameters that passed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Args(BTreeMap<String, Given>);

impl Param {
    pub(crate) const fn must(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, required: true }
    }

    pub(crate) const fn may(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, required: false }
    }

    pub(crate) fn names(&self, given: &str) -> bool {
        match self.name.strip_suffix("[n]") {
            None => self.name == given,
            Some(stem) => given.strip_prefix(stem).is_some_and(|n| {
                !n.is_empty() && n.len() <= 3 && n.bytes().all(|b| b.is_ascii_digit())
            }),
        }
    }
}

impl Kind {
    pub(crate) const fn text() -> Self {
        Self::Text { max: usize::MAX }
    }

    pub(crate) const fn format(check: fn(&str) -> Result<(), String>) -> Self {
        Self::Format { max: usize::MAX, check }
    }

    pub(crate) const fn vmid() -> Self {
        Self::Int { min: 100, max: 999_999_999 }
    }

    pub(crate) const fn at_least(min: i64) -> Self {
        Self::Int { min, max: i64::MAX }
    }

    /// Whether Proxmox gives such an option as a JSON number.
    pub(crate) fn is_numeric(&self) -> bool {
        matches!(self, Self::Bool | Self::Int { .. })
    }

    fn check(&self, value: &str) -> Result<(), String> {
        match self {
            Self::Bool => match value {
                "0" | "1" => Ok(()),
                _ => Err(wrong_type("boolean", value)),
            },
            Self::Int { min, max } => {
                let digits = value.strip_prefix(['+', '-']).unwrap_or(value);
                if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(wrong_type("integer", value));
                }
                // Digits only, so what does not parse is too large either way.
                let number = value.parse::<i64>().unwrap_or(match value.strip_prefix('-') {
                    Some(_) => i64::MIN,
                    None => i64::MAX,
                });
                in_range(number, *min, *max)
            }
            Self::Number { min, max } => match value.parse::<f64>() {
                Ok(number) if number.is_finite() => in_range(number, *min, *max),
                _ => Err(wrong_type("number", value)),
            },
            Self::Text { max } => no_longer(value, *max),
            Self::Enum(values) if values.contains(&value) => Ok(()),
            Self::Enum(values) => Err(format!(
                "value '{value}' does not have a value in the enumeration '{}'",
                values.join(", ")
            )),
            Self::Format { max, check } => {
                no_longer(value, *max)?;
                check(value).map_err(|why| format!("invalid format - {why}\n"))
            }
            Self::Pattern(fits) if fits(value) => Ok(()),
            Self::Pattern(_) => Err("value does not match the regex pattern".to_owned()),
            Self::Array => Ok(()),
        }
    }
}

impl Args {
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name)? {
            Given::One(text) => Some(text),
            Given::Many(all) => all.first().map(String::as_str),
        }
    }

    pub(crate) fn list(&self, name: &str) -> &[String] {
        match self.0.get(name) {
            Some(Given::One(one)) => std::slice::from_ref(one),
            Some(Given::Many(all)) => all,
            None => &[],
        }
    }

    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }

    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        self.text(name).map(|text| text == "1")
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.keys().filter_map(|name| Some((name.as_str(), self.text(name)?)))
    }

    /// Parameters as given, for a permission check, which comes before their validation.
    pub(crate) fn unchecked(params: Params) -> Self {
        Self(params)
    }

    pub(crate) fn into_params(self) -> Params {
        self.0
    }
}

/// Checks `params` against `table` and `options`; all that is wrong is told at once.
pub(crate) fn validate(
    params: Params,
    table: &[Param],
    options: &[VmOption],
) -> Result<Args, ApiError> {
    let mut errors = BTreeMap::new();
    let mut args = BTreeMap::new();
    let known = || table.iter().chain(options.iter().map(|o| &o.param));
    for (name, given) in params {
        let Some(param) = known().find(|p| p.names(&name)) else {
            let why = "property is not defined in schema and the schema does not allow \
                       additional properties";
            errors.insert(name, why.to_owned());
            continue;
        };
        match one_of(&param.kind, given) {
            Ok(given) => {
                args.insert(name, given);
            }
            Err(why) => {
                errors.insert(name, why);
            }
        }
    }
    for param in known().filter(|p| p.required) {
        if !args.contains_key(param.name) && !errors.contains_key(param.name) {
            let why = "property is missing and it is not optional";
            errors.insert(param.name.to_owned(), why.to_owned());
        }
    }
    if errors.is_empty() { Ok(Args(args)) } else { Err(ApiError::parameters(errors)) }
}

/// A list where one value is wanted is joined with commas (a `*-list` format) or refused.
fn one_of(kind: &Kind, given: Given) -> Result<Given, String> {
    match (kind, given) {
        (Kind::Array, given) => Ok(given),
        (kind, Given::One(value)) => kind.check(&value).map(|()| Given::One(value)),
        (kind @ Kind::Format { .. }, Given::Many(values)) => {
            let joined = values.join(",");
            kind.check(&joined).map(|()| Given::One(joined))
        }
        (kind, Given::Many(_)) => Err(wrong_type(kind.type_name(), "ARRAY")),
    }
}

impl Kind {
    fn type_name(&self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Int { .. } => "integer",
            Self::Number { .. } => "number",
            Self::Array => "array",
            Self::Text { .. } | Self::Enum(_) | Self::Format { .. } | Self::Pattern(_) => "string",
        }
    }
}

fn wrong_type(wanted: &str, got: &str) -> String {
    format!("type check ('{wanted}') failed - got '{got}'")
}

fn in_range<T: PartialOrd + std::fmt::Display>(value: T, min: T, max: T) -> Result<(), String> {
    if value < min {
        return Err(format!("value must have a minimum value of {min}"));
    }
    if value > max {
        return Err(format!("value must have a maximum value of {max}"));
    }
    Ok(())
}

fn no_longer(value: &str, max: usize) -> Result<(), String> {
    if value.chars().count() > max {
        return Err(format!("value may only be {max} characters long"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Param] = &[
        Param::must("vmid", Kind::vmid()),
        Param::may("full", Kind::Bool),
        Param::may("type", Kind::Enum(&["a", "b"])),
        Param::may("note", Kind::Text { max: 3 }),
        Param::may("net[n]", Kind::text()),
    ];

    fn check(name: &str, value: &str, expect: Result<(), &str>) {
        let mut params = Params::new();
        params.insert("vmid".to_owned(), Given::One("100".to_owned()));
        params.insert(name.to_owned(), Given::One(value.to_owned()));
        let got = validate(params, TABLE, &[]).map(|_| ()).map_err(|e| e.errors[name].clone());
        assert_eq!(got, expect.map_err(str::to_owned), "{name}={value}");
    }

    #[test]
    fn values_are_checked_with_the_known_texts() {
        let unknown =
            "property is not defined in schema and the schema does not allow additional properties";
        check("vmid", "100", Ok(()));
        check("vmid", "99", Err("value must have a minimum value of 100"));
        check("vmid", "1000000000", Err("value must have a maximum value of 999999999"));
        check("vmid", "99999999999999999999", Err("value must have a maximum value of 999999999"));
        check("vmid", "1e3", Err("type check ('integer') failed - got '1e3'"));
        check("full", "1", Ok(()));
        check("full", "true", Err("type check ('boolean') failed - got 'true'"));
        check("type", "c", Err("value 'c' does not have a value in the enumeration 'a, b'"));
        check("note", "abcd", Err("value may only be 3 characters long"));
        check("net0", "x", Ok(()));
        check("net", "x", Err(unknown));
        check("netx", "x", Err(unknown));
        check("nonsense", "x", Err(unknown));
    }

    #[test]
    fn what_is_missing_is_told() {
        let errors = validate(Params::new(), TABLE, &[]).map(|_| ()).map_err(|e| e.errors);
        let expect = "property is missing and it is not optional".to_owned();
        assert_eq!(errors, Err(BTreeMap::from([("vmid".to_owned(), expect)])));
    }
}
