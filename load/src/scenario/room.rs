//! A room that many join.

use std::time::Instant;

use clap::Args;

use crate::{
    peer::Target,
    process::Watched,
    report::{Report, histogram, record},
    scenario::uid,
};

/// Joins a room with one member after the other, each waiting until all others were told.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many members.
    #[arg(long, default_value_t = 300)]
    members: usize,
}

pub(crate) async fn run(
    target: &Target,
    watched: Option<Watched>,
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    let room = uid("room", 0);
    let mut peers = Vec::new();
    for i in 0..options.members {
        peers.push(target.register(&uid("member", i)).await?);
    }
    let mut watched = watched;
    watched.iter_mut().for_each(Watched::restart);
    let (mut joins, mut notices) = (histogram(), 0);
    let mut inside = Vec::new();
    for mut peer in peers {
        let began = Instant::now();
        peer.send(&format!("ROOM {room}")).await?;
        let answer = peer.receive().await?;
        anyhow::ensure!(answer.starts_with("ROOM_OK "), "{answer}");
        record(&mut joins, began.elapsed());
        for member in &mut inside {
            let notice = crate::peer::Peer::receive(member).await?;
            anyhow::ensure!(notice.starts_with("ROOM_PEER_JOINED "), "{notice}");
            notices += 1;
        }
        inside.push(peer);
    }
    report.add("members", inside.len() as f64, "");
    report.add("notices", notices as f64, "");
    report.add_latencies("join", &joins);
    if let Some(watched) = watched {
        report.add_cost("server_cpu_per_notice", watched.cpu(), notices);
    }
    Ok(())
}
