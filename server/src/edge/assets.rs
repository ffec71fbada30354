//! The page's files, embedded in the binary or in a folder.
//!
//! Embedded files have two addresses: their own, and one in a folder whose name changes with each version of the page
//! (build.rs). The page uses the latter, so that browsers keep its files without asking again.

#[cfg(test)]
mod bundle;
#[cfg(test)]
mod strip;

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use hyper::body::Bytes;
use percent_encoding::percent_decode_str;

use crate::runtime;

/// A file of the page at build time.
struct Embedded {
    name: &'static str,
    /// Changes with the content.
    tag: &'static str,
    plain: &'static [u8],
    /// Compressed with brotli.
    packed: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/page.rs"));

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
    /// Whether the body is compressed with brotli. `None` if it never is.
    pub packed: Option<bool>,
    /// Its `ETag`, if it is embedded.
    pub etag: Option<String>,
    /// Whether there will never be other content at this address.
    pub is_final: bool,
}

impl Assets {
    /// Finds the file for a request's path, compressed if the client takes `brotli`.
    pub async fn find(&self, path: &str, brotli: bool) -> Option<Asset> {
        let path = safe_path(path)?;
        let content_type = content_type(&path);
        match self {
            Self::Embedded => embedded(path.to_str()?, content_type, brotli),
            Self::Folder(folder) => {
                let (file, folder) = (folder.join(path), folder.clone());
                let body = runtime::unblock(move || read_inside(&folder, &file)).await?.into();
                Some(Asset { body, content_type, packed: None, etag: None, is_final: false })
            }
        }
    }
}

fn embedded(path: &str, content_type: String, brotli: bool) -> Option<Asset> {
    let in_folder = path.strip_prefix("v/").and_then(|path| path.strip_prefix(VERSION)?.strip_prefix('/'));
    let name = in_folder.unwrap_or(path);
    let at = EMBEDDED.binary_search_by_key(&name, |file| file.name).ok()?;
    let Embedded { tag, plain, packed, .. } = EMBEDDED.get(at)?;
    let (body, kind) = if brotli { (packed, "-br") } else { (plain, "") };
    Some(Asset {
        body: Bytes::from_static(body),
        content_type,
        packed: Some(brotli),
        etag: Some(format!("\"{tag}{kind}\"")),
        is_final: in_folder.is_some(),
    })
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
    use std::collections::HashMap;

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
                let found = runtime::timeout(std::time::Duration::from_secs(10), assets.find(path, false));
                found.await.expect("nobody waits for a FIFO")
            })
        };
        assert_eq!(find("/a.js").unwrap().body, "a");
        assert!(find("/b.js").is_none() && find("/c.js").is_none());
    }

    #[test]
    fn embedded_files_are_found_in_the_folder_of_their_version() {
        let find = |path: &str| embedded(path, String::new(), false);
        let page = find("index.html").unwrap();
        let text = std::str::from_utf8(&page.body).unwrap();
        let address = text.split_once("src=\"v/").unwrap().1.split('"').next().unwrap();
        let script = find(&format!("v/{address}")).unwrap();
        assert!(script.is_final && !page.is_final);
        assert_eq!(script.body, find(address.rsplit('/').next().unwrap()).unwrap().body);
        for path in ["v/0/start.js", "v/start.js", "v/", "test/call.test.js", "README.md", "package.json"] {
            assert!(find(path).is_none(), "{path}");
        }
        let packed = embedded("start.js", String::new(), true).unwrap();
        assert_eq!(packed.packed, Some(true));
        assert_ne!(packed.etag, find("start.js").unwrap().etag);
    }

    #[test]
    fn comments_go_and_code_stays_in_its_line() {
        let js = "// a\nimport { b } from \"./b.js\"; // b's\n\n/** c\n * \"d\" */\n  const e = /** @type {f} */ (g);\n\
            h(\"http://x /* y */\", '//', `\n  // z ${i ? `/* j */` : \"\"}`, /[\"'] \\/\\/ /);\n";
        let lean = "\nimport { b } from \"./b.js\";\n\n\n\nconst e =  (g);\n\
            h(\"http://x /* y */\", '//', `\n  // z ${i ? `/* j */` : \"\"}`, /[\"'] \\/\\/ /);\n";
        assert_eq!(strip::strip(js), lean);
        assert_eq!(strip::strip("/* a */\n\nb {\n  c: d;\n}\n"), "\n\nb {\nc: d;\n}\n");
        for odd in ["", "/*", "/* é", "\"", "\"\\", "`", "`\\", "`\\é", "'é", "//", "é // é"] {
            strip::strip(odd);
        }
    }

    #[test]
    fn modules_become_one_in_the_order_in_which_they_run() {
        let module = |(name, text): (&str, &str)| (name.to_owned(), text.to_owned());
        let modules = HashMap::from(
            [
                ("words.js", "export function say() {}\n"),
                (
                    "ui/b.js",
                    "import {\na as c,\nd\n} from \"../a.js\";\nimport * as e from \"./e.js\";\n\n\
                     export async function b() {\nc(d, e.f);\n}\nexport const g = 1;\n",
                ),
                ("a.js", "import { say } from \"./words.js\";\nexport function a() {}\nexport class d {}\n"),
                ("ui/e.js", "import { d } from \"../a.js\";\nexport const f = d;\n"),
            ]
            .map(module),
        );
        let files = bundle::bundle(&["ui/b.js"], "words.js", &modules).unwrap();
        let all = "import * as $apart from \"./words.js\";\n\
                   export const $0 = (() => {\nconst { say } = $apart;\nfunction a() {}\nclass d {}\nreturn { a, d };\n})();\n\
                   export const $1 = (() => {\nconst { d } = $0;\nconst f = d;\nreturn { f };\n})();\n\
                   export const $2 = (() => {\nconst { a: c, d } = $0;\nconst e = $1;\nasync function b() {\n\
                   c(d, e.f);\n}\nconst g = 1;\nreturn { b, g };\n})();\n";
        assert_eq!(files[0], module(("all.js", all)));
        let later = "import { $2 } from \"../all.js\";\nexport const { b, g } = $2;\n";
        assert_eq!(files[3], module(("ui/b.js", later)));
        for (name, odd) in [
            ("a.js", "export let a = 1;\n"),
            ("a.js", "export default 1;\n"),
            ("a.js", "import a from \"./ui/e.js\";\n"),
            ("a.js", "import { b } from \"./ui/b.js\";\n"),
            ("a.js", "import { b } from \"b\";\n"),
            ("a.js", "export const a = import.meta.url;\n"),
            ("ui/e.js", "export const f = import(\"./x.js\");\n"),
        ] {
            let mut modules = modules.clone();
            modules.insert(name.into(), odd.into());
            let error = bundle::bundle(&["ui/b.js"], "words.js", &modules).unwrap_err();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn modules_have_a_type_that_browsers_run() {
        assert_eq!(content_type(Path::new("main.js")), "text/javascript; charset=utf-8");
        assert_eq!(content_type(Path::new("index.html")), "text/html; charset=utf-8");
        assert_eq!(content_type(Path::new("icon.svg")), "image/svg+xml");
    }
}
