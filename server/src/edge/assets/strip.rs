//! Removes comments and indentation from the page's modules and style sheets. Lines keep their numbers. Also part of
//! build.rs.
//!
//! This is no parser: it knows strings, and takes for a comment only what the page's sources have as comments, which begins a
//! line or follows a space or a bracket. What it does not understand stays.

/// The text without comments and indentation.
pub(super) fn strip(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut is_template = false;
    while let Some(next) = rest.chars().next() {
        let after = out.chars().next_back();
        let may_begin = !is_template && after.is_none_or(|before| matches!(before, ' ' | '\n' | '('));
        let taken = match next {
            '/' if may_begin && rest.starts_with("//") => comment(&mut out, line(rest)),
            '/' if may_begin && rest.starts_with("/*") => comment(&mut out, block(rest)),
            ' ' | '\t' if !is_template && after.is_none_or(|before| before == '\n') => 1,
            '\n' if !is_template => {
                out.truncate(out.trim_end_matches(' ').len());
                copy(&mut out, "\n")
            }
            '"' | '\'' if !is_template => copy(&mut out, string(rest, next)),
            '\\' if is_template => copy(&mut out, rest.get(..2).unwrap_or("\\")),
            _ => {
                is_template ^= next == '`';
                out.push(next);
                next.len_utf8()
            }
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    out
}

fn copy(out: &mut String, text: &str) -> usize {
    out.push_str(text);
    text.len()
}

/// Keeps the line breaks of a comment.
fn comment(out: &mut String, text: &str) -> usize {
    out.extend(text.matches('\n'));
    text.len()
}

fn line(text: &str) -> &str {
    text.split('\n').next().unwrap_or_default()
}

fn block(text: &str) -> &str {
    text.find("*/").and_then(|at| text.get(..at + 2)).unwrap_or(text)
}

/// A string with its quotes; up to the end of the line if it does not end there, because it is part of a regular expression.
fn string(text: &str, quote: char) -> &str {
    let mut is_escaped = false;
    for (at, next) in text.char_indices().skip(1) {
        match next {
            '\n' => return text.get(..at).unwrap_or(text),
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if next == quote => return text.get(..=at).unwrap_or(text),
            _ => {}
        }
    }
    text
}
