//! Parameters from a query, a form or a JSON body, as Proxmox reads them.

use std::collections::BTreeMap;

use percent_encoding::percent_decode;
use serde_json::Value;

use super::reply::ApiError;

/// The value of one parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Given {
    One(String),
    Many(Vec<String>),
}

/// Parameters by name.
pub(crate) type Params = BTreeMap<String, Given>;

/// Adds the pairs of `text`, which `&` or `;` separate; a repeated key makes a list.
pub(crate) fn add_form(params: &mut Params, text: &[u8]) {
    let mut own = Params::new();
    for pair in text.split(|b| matches!(b, b'&' | b';')).filter(|p| !p.is_empty()) {
        let (key, value) = match pair.iter().position(|b| *b == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        };
        add(&mut own, decode(key), decode(value));
    }
    own.remove("_dc");
    params.extend(own);
}

/// Adds the members of a JSON object.
pub(crate) fn add_json(params: &mut Params, text: &[u8]) -> Result<(), ApiError> {
    let bad = || ApiError::new(400, "Bad Request: malformed JSON string");
    let Value::Object(members) = serde_json::from_slice(text).map_err(|_| bad())? else {
        return Err(bad());
    };
    for (key, value) in members {
        let given = match value {
            Value::Null => continue,
            Value::Array(items) => Given::Many(items.into_iter().map(plain).collect()),
            other => Given::One(plain(other)),
        };
        params.insert(key, given);
    }
    Ok(())
}

fn add(params: &mut Params, key: String, value: String) {
    match params.get_mut(&key) {
        None => {
            params.insert(key, Given::One(value));
        }
        Some(Given::Many(values)) => values.push(value),
        Some(one) => {
            if let Given::One(first) = one {
                *one = Given::Many(vec![std::mem::take(first), value]);
            }
        }
    }
}

fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Bool(flag) => u8::from(flag).to_string(),
        other => other.to_string(),
    }
}

fn decode(text: &[u8]) -> String {
    let spaced: Vec<u8> = text.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
    percent_decode(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    #[test]
    fn forms_decode_and_repeat() {
        let mut params = Params::new();
        add_form(&mut params, b"a=1&b=x%2By+z;command=ls&command=-l&_dc=9&empty=&bare");
        let one = |text: &str| Given::One(text.to_owned());
        assert_eq!(params["a"], one("1"));
        assert_eq!(params["b"], one("x+y z"));
        assert_eq!(params["command"], Given::Many(vec!["ls".to_owned(), "-l".to_owned()]));
        assert_eq!(params["empty"], one(""));
        assert_eq!(params["bare"], one(""));
        assert!(!params.contains_key("_dc"));
    }

    #[test]
    fn json_gives_text_and_a_later_source_wins() {
        let mut params = Params::new();
        add_json(&mut params, br#"{"full":false,"newid":101,"name":"a","l":["x",2],"n":null}"#)
            .unwrap();
        add_form(&mut params, b"name=b");
        assert_eq!(params["full"], Given::One("0".to_owned()));
        assert_eq!(params["newid"], Given::One("101".to_owned()));
        assert_eq!(params["name"], Given::One("b".to_owned()));
        assert_eq!(params["l"], Given::Many(vec!["x".to_owned(), "2".to_owned()]));
        assert!(!params.contains_key("n"));
        assert!(add_json(&mut params, b"[1]").is_err());
    }
}
