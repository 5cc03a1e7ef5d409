//! Many connections, made a few at a time: a server's accept queue is not what is measured.

use client::{Options, Plain};
use host::{Random as _, SystemRandom};
use tokio::task::JoinSet;

use crate::fault::{hinted, with_hint};

/// Connections that are being made at one time.
pub(super) const CONNECTING_AT_ONCE: usize = 64;

/// Descriptors that are needed beside one for each connection.
const FILES_BESIDE: u64 = 64;

/// A word that tells this run's clients from those of others.
pub(super) fn run_name() -> String {
    format!("{:08x}", SystemRandom.number() >> 32)
}

/// What each connection asks for: a client id of its own and no keep-alive, for it answers nothing but what it is there
/// for.
pub(super) fn options(base: &Options, run: &str, what: &str, n: u32) -> Options {
    Options { client_id: format!("load-{run}-{what}-{n}").into(), keep_alive_s: 0, ..base.clone() }
}

/// Makes sure that this process may open so many connections.
pub(super) fn raise_files(connections: u32) -> anyhow::Result<()> {
    let wanted = u64::from(connections) + FILES_BESIDE;
    let most = host::machine::raise_open_files();
    if most < wanted {
        let error = anyhow::anyhow!("{connections} connections need {wanted} open files; {most} are allowed");
        return Err(with_hint(error, Some(format!("`ulimit -n {wanted}` before it, or fewer connections"))));
    }
    Ok(())
}

/// Connects `count` clients, in order.
pub(super) async fn connect(
    count: u32,
    at_once: usize,
    options: impl Fn(u32) -> Options,
) -> anyhow::Result<Vec<Plain>> {
    let mut made: Vec<Option<Plain>> = (0..count).map(|_| None).collect();
    let mut connecting = JoinSet::new();
    let mut next = 0;
    loop {
        while next < count && connecting.len() < at_once {
            let (options, n) = (options(next + 1), next);
            connecting.spawn(async move { (n, Plain::connect(&options).await) });
            next += 1;
        }
        let Some(connected) = connecting.join_next().await else { break };
        let (n, plain) = connected?;
        made[n as usize] = Some(plain.map_err(hinted(client::ConnectError::hint))?);
    }
    Ok(made.into_iter().flatten().collect())
}
