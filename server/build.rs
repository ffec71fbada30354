//! Embeds the page in the binary: its files without comments, its modules in one, and all compressed, in a folder whose name
//! changes with them.

use std::{
    env,
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use sha1::{Digest as _, Sha1};

#[path = "src/edge/assets/bundle.rs"]
mod bundle;
#[path = "src/edge/assets/strip.rs"]
mod strip;

/// The module that index.html loads.
const ENTRY: &str = "start.js";
/// What it loads for all but the connection test: these and those that they import become one.
const ROOTS: [&str; 3] = ["calls.js", "main.js", "parameters.js"];
/// What it needs to load the texts while it loads the others.
const APART: &str = "language.js";

/// The folder of the sources, which also has their tests and documentation.
const SOURCE: &str = "../www";
const LEFT_OUT: [&str; 2] = ["test", "node_modules"];

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed={SOURCE}");
    let mut files = Vec::new();
    collect(Path::new(SOURCE), "", &mut files)?;
    pack(&mut files).map_err(io::Error::other)?;
    let all = files.iter().fold(Sha1::new(), |hash, (_, content)| hash.chain_update(content));
    let version = tag(all);
    if let Some((_, index)) =
        files.iter().position(|(name, _)| name == "index.html").map(|at| files.remove(at))
    {
        let index = with_one_sheet(&String::from_utf8_lossy(&index), &mut files);
        let index = in_folder(&index, &version, &files);
        files.push(("index.html".into(), index.into_bytes()));
    }
    files.sort();
    write(&PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()), &version, &files)
}

/// Reads the files of a folder, and of those in it.
fn collect(folder: &Path, prefix: &str, files: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        let name = name.to_string_lossy();
        let full = format!("{prefix}{name}");
        if path.is_dir() {
            if !LEFT_OUT.contains(&&*name) {
                collect(&path, &format!("{full}/"), files)?;
            }
        } else if !name.ends_with(".md") && !name.ends_with(".json") {
            let content = fs::read(&path)?;
            let is_code = name.ends_with(".js") || name.ends_with(".css");
            let content =
                if is_code { strip::strip(&String::from_utf8_lossy(&content)).into() } else { content };
            files.push((full, content));
        }
    }
    Ok(())
}

/// Replaces the modules of the page by one, and others that refer to it.
fn pack(files: &mut Vec<(String, Vec<u8>)>) -> Result<(), String> {
    let modules = files.iter().filter(|(name, _)| name.ends_with(".js"));
    let modules =
        modules.map(|(name, text)| (name.clone(), String::from_utf8_lossy(text).into_owned())).collect();
    for (name, text) in bundle::bundle(&ROOTS, APART, &modules)? {
        files.retain(|(other, _)| *other != name);
        files.push((name, text.into_bytes()));
    }
    files.sort();
    Ok(())
}

/// The page with one style sheet, made of those that it names.
fn with_one_sheet(page: &str, files: &mut Vec<(String, Vec<u8>)>) -> String {
    let (mut lines, mut all) = (String::new(), Vec::new());
    for line in page.lines() {
        let name = line
            .trim()
            .strip_prefix("<link rel=\"stylesheet\" href=\"")
            .and_then(|rest| rest.strip_suffix("\" />"));
        let Some((_, sheet)) = name.and_then(|name| files.iter().find(|(other, _)| other == name)) else {
            lines.push_str(line);
            lines.push('\n');
            continue;
        };
        if all.is_empty() {
            lines.push_str("<link rel=\"stylesheet\" href=\"all.css\" />\n");
        }
        all.extend_from_slice(sheet);
    }
    files.push(("all.css".into(), all));
    lines
}

/// The page with the addresses of its files in a folder named after the version, so that they may be cached for ever. Modules
/// import one another by relative addresses, and stay in that folder.
fn in_folder(page: &str, version: &str, files: &[(String, Vec<u8>)]) -> String {
    // The browser begins to load the modules before it has seen who imports them.
    let script = format!("<script type=\"module\" src=\"{ENTRY}\">");
    let early = [bundle::BUNDLE].iter().chain(&ROOTS);
    let early =
        early.map(|name| format!("<link rel=\"modulepreload\" href=\"{name}\" />")).collect::<String>();
    let page = page.replace(&script, &(early + &script));
    files.iter().fold(page, |page, (name, _)| {
        ["src", "href"].iter().fold(page, |page, attribute| {
            page.replace(&format!("{attribute}=\"{name}\""), &format!("{attribute}=\"v/{version}/{name}\""))
        })
    })
}

/// Writes the files, and a list of them for assets.rs.
fn write(out: &Path, version: &str, files: &[(String, Vec<u8>)]) -> io::Result<()> {
    let mut list = format!("const VERSION: &str = {version:?};\nstatic EMBEDDED: &[Embedded] = &[\n");
    for (number, (name, content)) in files.iter().enumerate() {
        let (plain, packed) = (out.join(format!("{number}")), out.join(format!("{number}.br")));
        fs::write(&plain, content)?;
        let mut packer = brotli::CompressorWriter::new(fs::File::create(&packed)?, 1 << 16, 11, 22);
        packer.write_all(content)?;
        drop(packer);
        let etag = tag(Sha1::new().chain_update(content));
        let _ = writeln!(
            list,
            "Embedded {{ name: {name:?}, tag: {etag:?}, plain: include_bytes!({plain:?}), packed: include_bytes!({packed:?}) }},"
        );
    }
    list.push_str("];\n");
    fs::write(out.join("page.rs"), list)
}

fn tag(hash: Sha1) -> String {
    hash.finalize().iter().take(8).fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
