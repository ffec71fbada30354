//! `callbin-server admin`.

use std::{fs, path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::Agent;

/// Largest answer in bytes: a list of some millions of peers.
const MAX_BODY: u64 = 1 << 30;

/// The server and the action.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The admin address of the server.
    #[arg(long, env = "CALLBIN_ADMIN_ADDR", default_value = "127.0.0.1:9443", value_name = "ADDRESS:PORT")]
    admin_addr: String,

    /// File with the secret of the admin API.
    #[arg(long, env = "CALLBIN_ADMIN_SECRET_FILE", value_name = "FILE")]
    admin_secret_file: PathBuf,

    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the registered peers.
    Peers {
        /// Those of all servers of the cluster (--redis), with their nodes.
        #[arg(long)]
        all_nodes: bool,
    },
    /// List the sessions.
    Sessions,
    /// List rooms and their members.
    Rooms,
    /// List the streams of media nodes.
    Streams,
    /// List the attached media nodes.
    Nodes,
    /// Close a peer's connection.
    Disconnect {
        /// The peer's uid.
        uid: String,
    },
    /// Close the connections of all members of a room.
    CloseRoom {
        /// The room.
        room: String,
    },
    /// End a stream for its publisher and its viewers.
    EndStream {
        /// The stream.
        stream: String,
    },
}

pub(super) fn run(options: &Options) -> Result<String, Box<dyn std::error::Error>> {
    let file = &options.admin_secret_file;
    let secret =
        fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let authorization = format!("Bearer {}", secret.trim());
    let config = Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(30)))
        .http_status_as_error(false)
        .proxy(None)
        .build();
    let agent: Agent = config.into();
    let name = |name: &str| utf8_percent_encode(name, NON_ALPHANUMERIC).to_string();
    let path = match &options.what {
        What::Peers { all_nodes: true } => "peers?all-nodes".into(),
        What::Peers { .. } => "peers".into(),
        What::Sessions => "sessions".into(),
        What::Rooms => "rooms".into(),
        What::Streams => "streams".into(),
        What::Nodes => "nodes".into(),
        What::EndStream { stream } => format!("streams/{}", name(stream)),
        What::Disconnect { uid } => format!("peers/{}", name(uid)),
        What::CloseRoom { room } => format!("rooms/{}", name(room)),
    };
    let url = format!("http://{}/admin/{path}", options.admin_addr);
    let result = match options.what {
        What::Disconnect { .. } | What::CloseRoom { .. } | What::EndStream { .. } => {
            agent.delete(&url).header("Authorization", authorization).call()
        }
        _ => agent.get(&url).header("Authorization", authorization).call(),
    };
    let mut response = result.map_err(|error| format!("no answer from {}: {error}", options.admin_addr))?;
    let body = response.body_mut().with_config().limit(MAX_BODY).read_to_string()?;
    let body = body.trim_end().to_owned();
    if response.status().is_success() { Ok(body) } else { Err(body.into()) }
}
