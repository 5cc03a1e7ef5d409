//! `godwit device`: the devices that are known. One file for each form.

mod add;
mod list;

/// The forms of `godwit device`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// Add a device and give it a way to prove itself
    Add(add::Args),
    /// List devices
    List(list::Args),
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args {
        Args::Add(args) => add::run(args).await,
        Args::List(args) => list::run(args).await,
    }
}
