//! The page's Content-Security-Policy: what it may load, and which pages may embed it in a frame.

use hyper::header::HeaderValue;

/// The page runs only its own modules and may connect to any signalling server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data: blob:; media-src 'self' blob: mediastream:; \
    connect-src 'self' ws: wss: http: https:; manifest-src 'self'; \
    base-uri 'none'; form-action 'self'; frame-ancestors";

/// The header's value with these `frame-ancestors`. The error is the first invalid one.
pub fn header(ancestors: &[String]) -> Result<HeaderValue, String> {
    let sources = match ancestors {
        [] => return Err(String::new()),
        [one] if one == "none" => "'none'".to_owned(),
        many => {
            let sources = many.iter().map(|text| source(text).ok_or_else(|| text.clone()));
            sources.collect::<Result<Vec<_>, _>>()?.join(" ")
        }
    };
    HeaderValue::try_from(format!("{POLICY} {sources}")).map_err(|_| ancestors.join(","))
}

/// An origin; the first label of its host may be `*` (Content Security Policy Level 3, section 2.3.1). A scheme alone
/// or `*` is rejected: anyone can have a page there.
fn source(text: &str) -> Option<String> {
    if text == "self" {
        return Some("'self'".into());
    }
    let origin = text.trim_end_matches('/').to_ascii_lowercase();
    let (scheme, authority) = origin.split_once("://")?;
    let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let is_label = |label: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(fits)
    };
    let is_host = host.strip_prefix("*.").unwrap_or(host).split('.').all(is_label);
    (matches!(scheme, "http" | "https") && is_host && port.is_none_or(is_port)).then_some(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ancestors(list: &[&str]) -> Result<String, String> {
        let list: Vec<String> = list.iter().copied().map(String::from).collect();
        let value = header(&list)?;
        let (_, sources) = value.to_str().unwrap().split_once("frame-ancestors ").unwrap();
        Ok(sources.to_owned())
    }

    #[test]
    fn frames_are_for_those_in_the_list() {
        for (list, sources) in [
            (&["self"][..], "'self'"),
            (&["none"], "'none'"),
            (&["https://Example.org/"], "https://example.org"),
            (
                &["self", "https://*.example.org", "http://localhost:8080"],
                "'self' https://*.example.org http://localhost:8080",
            ),
            (&["http://192.0.2.1"], "http://192.0.2.1"),
        ] {
            assert_eq!(ancestors(list).as_deref(), Ok(sources));
        }
    }

    #[test]
    fn what_is_no_origin_is_named() {
        for text in [
            "",
            "*",
            "https:",
            "https://",
            "https://*",
            "example.org",
            "'self'",
            "https://a.*.org",
            "https://a/b",
            "https://a b",
            "https://a;script-src *",
            "https://a:",
            "https://a:x",
            "https://a:70000",
            "ftp://a",
            "https://a..b",
            "https://a\r\nx: y",
            "none ",
            "SELF",
        ] {
            assert_eq!(ancestors(&["self", text]), Err(text.into()), "{text:?}");
        }
        assert_eq!(ancestors(&["self", "none"]), Err("none".into()), "none stands alone");
        assert_eq!(ancestors(&[]), Err(String::new()));
    }
}
