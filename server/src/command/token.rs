//! `callbin-server token`.

use std::{path::PathBuf, time::SystemTime};

use clap::Args;

use crate::access::{
    Ability, Pattern,
    token::{Claims, sign},
};

/// The contents of the token.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The secret (HS256), or a private key in PEM form, PKCS #8 (RS256, ES256, EdDSA).
    #[arg(long, env = "CALLBIN_TOKEN_KEY_FILE", value_name = "FILE")]
    key_file: PathBuf,

    /// The subject (sub). A new connection with the same subject takes over its uid from an earlier one.
    #[arg(long, value_name = "NAME")]
    sub: Option<String>,

    /// The uid that the peer may register, or a prefix followed by * [default: any].
    #[arg(long, value_name = "UID")]
    uid: Option<String>,

    /// A room that the peer may join, or a prefix followed by * [default: any].
    #[arg(long, value_name = "ROOM")]
    room: Vec<String>,

    /// Allow no room.
    #[arg(long, conflicts_with = "room")]
    no_rooms: bool,

    /// A stream that the peer may publish and play, or a prefix followed by * [default: it may publish those whose names
    /// it may register, and play any].
    #[arg(long, value_name = "STREAM")]
    stream: Vec<String>,

    /// Allow the bearer to attach as a media node.
    #[arg(long)]
    node: bool,

    /// Allow only this: calls by the peer, calls to it, publishing or playing streams; several add up [default: all].
    #[arg(long, value_name = "WHAT")]
    allow: Vec<Ability>,

    /// Lifetime in seconds.
    #[arg(long, default_value_t = 3600, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    ttl: u64,

    /// Its audience (aud).
    #[arg(long, value_name = "TEXT")]
    audience: Option<String>,

    /// Its issuer (iss).
    #[arg(long, value_name = "TEXT")]
    issuer: Option<String>,
}

pub(super) fn run(options: &Options) -> Result<String, Box<dyn std::error::Error>> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let rooms: Vec<Pattern> = options.room.iter().map(|room| room.as_str().into()).collect();
    let streams: Vec<Pattern> = options.stream.iter().map(|stream| stream.as_str().into()).collect();
    let claims = Claims {
        sub: options.sub.clone(),
        exp: now.saturating_add(options.ttl),
        aud: options.audience.clone().map(Into::into),
        iss: options.issuer.clone(),
        uid: options.uid.as_deref().map(Into::into),
        rooms: (options.no_rooms || !rooms.is_empty()).then_some(rooms),
        streams: (!streams.is_empty()).then_some(streams),
        node: options.node,
        allow: (!options.allow.is_empty()).then(|| options.allow.clone()),
    };
    Ok(sign(&claims, &options.key_file)?)
}
