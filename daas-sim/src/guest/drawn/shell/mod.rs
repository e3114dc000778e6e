//! A small shell in the manner of a POSIX `sh`, running on a guest's disk.
//!
//! It has what configuration scripts use: quoting, variables, command and arithmetic
//! substitution, `&&`, `||`, `;`, `!`, pipes, redirections, here-documents, `if`, `while`,
//! `until`, `for`, `case`, groups, subshells, functions, `set -e` and `set -u`. What it cannot
//! parse ends with status 2 and says so; it has no job control, no `&` and no aliases. `parse`
//! builds the tree of `syntax`, `interpret` walks it, `expand` makes words, `stream` carries the
//! bytes; the commands are in `super::commands`.

mod arithmetic;
mod builtins;
mod compound;
mod expand;
mod interpret;
mod launch;
mod parse;
mod pattern;
mod redirect;
mod stream;
mod syntax;
mod words;

pub(super) use interpret::{Process, Shell};
pub(super) use stream::{Input, Output, taken};
