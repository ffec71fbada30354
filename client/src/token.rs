//! The access token that a signalling server may require, and its source. It is never shown.

use std::{fmt, fs, io::Read, path::PathBuf};

use async_tungstenite::tungstenite::http::HeaderValue;

use crate::exit::{ExitCode, Failure};

/// Longest token in bytes: servers take no longer header.
const MAX_LENGTH: usize = 8 * 1024;

/// A token, valid in a header: visible ASCII.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// The source of the token.
#[derive(Debug, Clone, Default)]
pub enum TokenSource {
    /// There is no token.
    #[default]
    None,
    /// A given token.
    Given(Token),
    /// A file, read again for each connection: tokens expire, and the file is renewed.
    File(PathBuf),
}

impl Token {
    /// Checks `text`, without the white space around it.
    pub fn new(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let sane = (1..=MAX_LENGTH).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if sane { Ok(Self(text.to_owned())) } else { Err("want a token: visible ASCII, no spaces".into()) }
    }

    /// The value of an `Authorization` header.
    pub fn bearer(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// Keeps tokens out of logs.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl TokenSource {
    /// The value of the `Authorization` header to send, if any.
    pub fn bearer(&self) -> Result<Option<HeaderValue>, Failure> {
        match self {
            Self::None => Ok(None),
            Self::Given(token) => Ok(token.bearer()),
            Self::File(path) => {
                let wrong = |why: String| {
                    Failure::new(ExitCode::Usage, format!("--token-file {}: {why}", path.display()))
                };
                let mut text = String::new();
                fs::File::open(path)
                    .and_then(|file| file.take(MAX_LENGTH as u64 + 3).read_to_string(&mut text))
                    .map_err(|error| wrong(error.to_string()))?;
                Ok(Token::new(&text).map_err(wrong)?.bearer())
            }
        }
    }

    /// Whether there is a token, valid or not.
    pub fn is_some(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// Whether another attempt may find another token.
    pub fn may_change(&self) -> bool {
        matches!(self, Self::File(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_word_and_never_shown() {
        let token = Token::new(" a.b-c_d\n").unwrap();
        assert_eq!(token.bearer().unwrap(), "Bearer a.b-c_d");
        assert_eq!(format!("{token:?} {:?}", token.bearer().unwrap()), "Token(…) Sensitive");
        for bad in ["", " ", "a b", "a\nb", "é", &"x".repeat(MAX_LENGTH + 1)] {
            assert!(Token::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_file_is_read_each_time() {
        let folder = std::env::temp_dir().join(format!("callbin-token-{}", std::process::id()));
        let source = TokenSource::File(folder.clone());
        assert_eq!(source.bearer().unwrap_err().code, ExitCode::Usage);
        for token in ["one", "two\n"] {
            fs::write(&folder, token).unwrap();
            assert_eq!(source.bearer().unwrap().unwrap(), format!("Bearer {}", token.trim()));
        }
        fs::remove_file(&folder).unwrap();
    }
}
