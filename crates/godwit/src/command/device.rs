//! `godwit device`: the devices that are known. One file for each form.

mod add;
mod certificate;
mod list;

/// The forms of `godwit device`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// Add a device and give it a way to prove itself
    Add(add::Args),
    /// Its certificates: list, add, register, revoke, deactivate, activate
    #[command(subcommand)]
    Certificate(certificate::Args),
    /// List devices
    List(list::Args),
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args {
        Args::Add(args) => add::run(args).await,
        Args::Certificate(args) => certificate::run(args).await,
        Args::List(args) => list::run(args).await,
    }
}
