//! The page's files, embedded in the binary or in a folder.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use hyper::body::Bytes;
use percent_encoding::percent_decode_str;
use rust_embed::{Embed, EmbeddedFile};

use crate::runtime;

/// The page at build time, without its tests.
#[derive(Embed)]
#[folder = "../www"]
#[exclude = "test/*"]
#[exclude = "node_modules/*"]
#[exclude = "*.md"]
#[exclude = "*.json"]
struct Embedded;

/// The source of the page.
#[derive(Debug)]
pub enum Assets {
    /// From the binary.
    Embedded,
    /// From a folder, read at each request.
    Folder(PathBuf),
}

/// A file of the page.
#[derive(Debug)]
pub struct Asset {
    /// Its content.
    pub body: Bytes,
    /// Its `Content-Type`.
    pub content_type: String,
    /// Its `ETag`, if it is embedded.
    pub etag: Option<String>,
}

impl Assets {
    /// Finds the file for a request's path.
    pub async fn find(&self, path: &str) -> Option<Asset> {
        let path = safe_path(path)?;
        let content_type = content_type(&path);
        match self {
            Self::Embedded => {
                let EmbeddedFile { data, metadata } = Embedded::get(path.to_str()?)?;
                let hash = metadata.sha256_hash();
                let etag = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>();
                let body = match data {
                    std::borrow::Cow::Borrowed(data) => Bytes::from_static(data),
                    std::borrow::Cow::Owned(data) => data.into(),
                };
                Some(Asset { body, content_type, etag: Some(format!("\"{etag}\"")) })
            }
            Self::Folder(folder) => {
                let (file, folder) = (folder.join(path), folder.clone());
                let body = runtime::unblock(move || read_inside(&folder, &file)).await?.into();
                Some(Asset { body, content_type, etag: None })
            }
        }
    }
}

/// Reads a file. Links are resolved first and must stay in the folder. Only regular files are read: a FIFO could block
/// for ever.
fn read_inside(folder: &Path, file: &Path) -> Option<Vec<u8>> {
    let (real, root) = (file.canonicalize().ok()?, folder.canonicalize().ok()?);
    if real.starts_with(root) && real.is_file() { fs::read(real).ok() } else { None }
}

/// A path that stays inside the folder and contains no hidden names; `/` is the page itself.
fn safe_path(path: &str) -> Option<PathBuf> {
    let decoded = percent_decode_str(path.trim_start_matches('/')).decode_utf8().ok()?;
    let decoded = if decoded.is_empty() { "index.html" } else { &*decoded };
    let path = Path::new(decoded);
    let plain = path.components().all(|part| match part {
        Component::Normal(name) => !name.as_encoded_bytes().starts_with(b"."),
        _ => false,
    });
    (plain && !decoded.contains(['\0', '\\'])).then(|| path.to_owned())
}

fn content_type(path: &Path) -> String {
    let mime = mime_guess::from_path(path).first_or_octet_stream();
    let text = mime.type_() == "text" || mime.subtype() == "javascript" || mime.subtype() == "json";
    if text { format!("{mime}; charset=utf-8") } else { mime.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        assert_eq!(safe_path("/"), Some("index.html".into()));
        assert_eq!(safe_path("/a/b.js"), Some("a/b.js".into()));
        assert_eq!(safe_path("/a%20b.js"), Some("a b.js".into()));
        for path in ["/..", "/../x", "/a/../../x", "/%2e%2e/x", "/.git/config", "//etc/../..", "/%00", "/%ff"]
        {
            assert_eq!(safe_path(path), None, "{path}");
        }
        assert_eq!(safe_path("//etc/passwd"), Some("etc/passwd".into()));
    }

    #[test]
    fn what_is_no_file_is_not_there() {
        let folder = tempfile::TempDir::new().unwrap();
        fs::write(folder.path().join("a.js"), "a").unwrap();
        let fifo = folder.path().join("b.js");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let assets = Assets::Folder(folder.path().into());
        let find = |path| {
            runtime::block_on(async {
                let found = runtime::timeout(std::time::Duration::from_secs(10), assets.find(path));
                found.await.expect("nobody waits for a FIFO")
            })
        };
        assert_eq!(find("/a.js").unwrap().body, "a");
        assert!(find("/b.js").is_none() && find("/c.js").is_none());
    }

    #[test]
    fn modules_have_a_type_that_browsers_run() {
        assert_eq!(content_type(Path::new("main.js")), "text/javascript; charset=utf-8");
        assert_eq!(content_type(Path::new("index.html")), "text/html; charset=utf-8");
        assert_eq!(content_type(Path::new("icon.svg")), "image/svg+xml");
    }
}
