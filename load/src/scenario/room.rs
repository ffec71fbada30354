//! A room with many members.

use std::time::Instant;

use clap::Args;

use crate::{
    peer::Peer,
    report::{histogram, record},
    scenario::{Run, uid},
};

/// Adds members to a room one by one, each after all others got the notice about the previous one.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Number of members.
    #[arg(long, default_value_t = 300)]
    members: usize,
}

pub(crate) async fn run(run: &mut Run, options: &Options) -> anyhow::Result<()> {
    let room = uid("room", 0);
    let mut peers = Vec::new();
    for i in 0..options.members {
        peers.push(run.target.register(&uid("member", i)).await?);
    }
    run.restart();
    let (mut joins, mut notices) = (histogram(), 0);
    let mut inside = Vec::new();
    for mut peer in peers {
        let began = Instant::now();
        peer.send(&format!("ROOM {room}")).await?;
        let answer = peer.receive().await?;
        anyhow::ensure!(answer.starts_with("ROOM_OK "), "{answer}");
        record(&mut joins, began.elapsed());
        for member in &mut inside {
            let notice = Peer::receive(member).await?;
            anyhow::ensure!(notice.starts_with("ROOM_PEER_JOINED "), "{notice}");
            notices += 1;
        }
        inside.push(peer);
    }
    run.report.add("members", inside.len() as f64, "");
    run.report.add("notices", notices as f64, "");
    run.report.add_latencies("join", &joins);
    run.add_cost("server_cpu_per_notice", notices);
    Ok(())
}
