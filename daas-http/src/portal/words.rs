//! The pages' words, in the languages of the people who read them.

use std::convert::Infallible;
use std::sync::OnceLock;

use axum::extract::FromRequestParts;
use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};
use http::request::Parts;
use http::{HeaderMap, header};
use unic_langid::langid;

/// The longest list of languages that is looked at.
const WISHES_MAX: usize = 32;

/// A language that the pages speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Words {
    English,
    French,
}

impl Words {
    /// What a browser asks for; English when it asks for none of ours.
    pub(crate) fn wanted(headers: &HeaderMap) -> Self {
        let wishes = headers.get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok());
        let wishes = wishes.unwrap_or_default().split(',').take(WISHES_MAX);
        let ours = wishes.filter_map(|wish| {
            let (tag, weight) = wish.split_once(";q=").unwrap_or((wish, "1"));
            let weight: f32 = weight.trim().parse().ok().filter(|w| (0.0..=1.0).contains(w))?;
            match tag.trim().split('-').next()?.to_ascii_lowercase().as_str() {
                "en" => Some((Self::English, weight)),
                "fr" => Some((Self::French, weight)),
                _ => None,
            }
        });
        // The first of those that are wished for most.
        let mut best: Option<(Self, f32)> = None;
        for (words, weight) in ours.filter(|(_, weight)| *weight > 0.0) {
            if best.is_none_or(|(_, most)| weight > most) {
                best = Some((words, weight));
            }
        }
        best.map_or(Self::English, |(words, _)| words)
    }

    /// Its tag in HTML.
    pub(crate) fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::French => "fr",
        }
    }

    /// The words `id`.
    pub(crate) fn t(self, id: &str) -> String {
        self.format(id, None)
    }

    /// The words `id` with one value in them.
    pub(crate) fn with<'a>(
        self,
        id: &str,
        name: &'a str,
        value: impl Into<FluentValue<'a>>,
    ) -> String {
        let mut values = FluentArgs::new();
        values.set(name, value);
        self.format(id, Some(&values))
    }

    fn format(self, id: &str, values: Option<&FluentArgs<'_>>) -> String {
        let bundle = self.bundle();
        // What is missing shows its name; a test looks for such.
        let Some(pattern) = bundle.get_message(id).and_then(|message| message.value()) else {
            return id.to_owned();
        };
        bundle.format_pattern(pattern, values, &mut Vec::new()).into_owned()
    }

    fn bundle(self) -> &'static FluentBundle<FluentResource> {
        static ENGLISH: OnceLock<FluentBundle<FluentResource>> = OnceLock::new();
        static FRENCH: OnceLock<FluentBundle<FluentResource>> = OnceLock::new();
        let (cell, text) = match self {
            Self::English => (&ENGLISH, include_str!("../../locales/en.ftl")),
            Self::French => (&FRENCH, include_str!("../../locales/fr.ftl")),
        };
        cell.get_or_init(|| {
            let language = match self {
                Self::English => langid!("en"),
                Self::French => langid!("fr"),
            };
            let mut bundle = FluentBundle::new_concurrent(vec![language]);
            // Marks around values are for texts of mixed direction; they would be copied along.
            bundle.set_use_isolating(false);
            // A text with faults is taken as far as it goes; a test looks for faults.
            let resource =
                FluentResource::try_new(text.to_owned()).unwrap_or_else(|(good, _)| good);
            bundle.add_resource_overriding(resource);
            bundle
        })
    }
}

impl<S: Sync> FromRequestParts<S> for Words {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::wanted(&parts.headers))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps an error has failed")]
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn ids(text: &str) -> BTreeSet<&str> {
        let begins = |line: &&str| line.starts_with(|c: char| c.is_ascii_lowercase());
        text.lines().filter(begins).map(|line| line.split_once(" =").unwrap().0).collect()
    }

    #[test]
    fn both_languages_have_the_same_words_and_no_faults() {
        let (en, fr) = (include_str!("../../locales/en.ftl"), include_str!("../../locales/fr.ftl"));
        for text in [en, fr] {
            FluentResource::try_new(text.to_owned()).map_err(|(_, faults)| faults).unwrap();
        }
        assert_eq!(ids(en), ids(fr));
    }

    /// Words are asked for by `t("…")` and `with("…"`, in templates and here.
    #[test]
    fn every_word_that_is_asked_for_is_there_and_no_other() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let places = [root.join("templates"), root.join("src/portal")];
        let mut open: Vec<_> = places.into();
        let mut texts: Vec<String> = Vec::new();
        while let Some(path) = open.pop() {
            if path.is_dir() {
                open.extend(std::fs::read_dir(path).unwrap().map(|file| file.unwrap().path()));
            } else {
                texts.push(std::fs::read_to_string(path).unwrap());
            }
        }
        let asked = texts.iter().flat_map(|text| {
            let calls = text.split("w.t(\"").chain(text.split("words.t(\"")).skip(1);
            let calls = calls.chain(text.split(".with(\"").skip(1));
            calls.filter_map(|rest| rest.split_once('"')).map(|(id, _)| id)
        });
        let looks_like_id =
            |id: &&str| !id.is_empty() && id.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        let asked: BTreeSet<&str> = asked.filter(looks_like_id).collect();
        let there = ids(include_str!("../../locales/en.ftl"));
        let missing: Vec<_> = asked.difference(&there).collect();
        assert!(missing.is_empty(), "missing: {missing:?}");
        let composed = |id: &&&str| {
            ["phase-", "error-", "os-", "rule-"].iter().any(|start| id.starts_with(start))
        };
        let unused: Vec<_> = there.difference(&asked).filter(|id| !composed(id)).collect();
        assert!(unused.is_empty(), "asked for by nobody: {unused:?}");
    }

    #[test]
    fn the_language_is_the_one_wished_for_most() {
        let check = |wish: &str, words: Words| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, wish.parse().unwrap());
            assert_eq!(Words::wanted(&headers), words, "{wish}");
        };
        check("fr-FR,fr;q=0.9,en;q=0.8", Words::French);
        check("de, en-GB;q=0.7, fr;q=0.3", Words::English);
        check("en;q=0.1, FR", Words::French);
        check("fr;q=0, en;q=0.1", Words::English);
        check("fr;q=rubbish", Words::English);
        check("", Words::English);
        assert_eq!(Words::wanted(&HeaderMap::new()), Words::English);
        assert_eq!(Words::French.with("ready-in", "seconds", 40), "prêt dans 40 s environ");
    }
}
