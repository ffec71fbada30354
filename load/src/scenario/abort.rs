//! A large room whose members all disappear at once.

use std::time::{Duration, Instant};

use clap::Args;

use crate::{
    peer::{Peer, Target},
    report::{histogram, record},
    runtime,
    scenario::{Run, uid},
};

/// Fills a room, then cuts off all members except one without a closing handshake.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Number of members that are cut off.
    #[arg(long, default_value_t = 1000)]
    members: usize,
    /// Members connect to these servers in turn, nodes of one cluster; without any, to the server.
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    others: Vec<String>,
}

/// Members that join at the same time.
const AT_ONCE: usize = 20;

pub(crate) async fn run(run: &mut Run, options: &Options) -> anyhow::Result<()> {
    let others: Vec<Target> = run.targets(&options.others)?;
    let room = uid("room", 0);
    let mut witness = run.target.register(&uid("witness", 0)).await?;
    witness.send(&format!("ROOM {room}")).await?;
    witness.receive().await?;
    run.restart();
    let start = Instant::now();
    let mut members = Vec::new();
    for some in (0..options.members).collect::<Vec<_>>().chunks(AT_ONCE) {
        let joining: Vec<_> = some
            .iter()
            .map(|i| {
                let target = others.get(i % others.len().max(1)).unwrap_or(&run.target).clone();
                runtime::spawn(join(target, uid("member", *i), room.clone()))
            })
            .collect();
        for joining in joining {
            members.push(joining.await?);
        }
    }
    expect(&mut witness, "ROOM_PEER_JOINED ", options.members, |_| {}).await?;
    run.report.add("joins_took", start.elapsed().as_secs_f64(), "s");
    run.add_cost("server_cpu_per_join", options.members as u64);
    run.restart();
    let cut = Instant::now();
    drop(members);
    let mut latencies = histogram();
    let seen = |at: Instant| record(&mut latencies, at - cut);
    expect(&mut witness, "ROOM_PEER_LEFT ", options.members, seen).await?;
    run.report.add_latencies("left", &latencies);
    run.add_cost("server_cpu_per_leave", options.members as u64);
    // Their uids are free.
    let again = Instant::now();
    for i in [0, options.members / 2, options.members.saturating_sub(1)] {
        run.target.register(&uid("member", i)).await?;
    }
    run.report.add("register_again", again.elapsed().as_secs_f64() * 1000.0 / 3.0, "ms");
    Ok(())
}

async fn join(target: Target, uid: String, room: String) -> anyhow::Result<Peer> {
    let mut peer = target.register(&uid).await?;
    peer.send(&format!("ROOM {room}")).await?;
    let answer = peer.receive().await?;
    anyhow::ensure!(answer.starts_with("ROOM_OK "), "{uid}: {answer}");
    Ok(peer)
}

/// Receives `count` notices of one kind.
async fn expect(
    peer: &mut Peer,
    beginning: &str,
    count: usize,
    mut seen: impl FnMut(Instant),
) -> anyhow::Result<()> {
    for number in 0..count {
        let notice = runtime::timeout(Duration::from_secs(60), peer.receive()).await;
        let notice = notice.ok_or_else(|| anyhow::anyhow!("only {number} of {count} {beginning}"))??;
        anyhow::ensure!(notice.starts_with(beginning), "{notice}");
        seen(Instant::now());
    }
    Ok(())
}
