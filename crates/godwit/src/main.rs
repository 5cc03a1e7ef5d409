//! Godwit: an IoT platform in one binary.
//!
//! The composition root: it reads settings and arguments, wires the rooms, and starts and stops them in order.
//! No logic of a room lives here.

#[cfg(feature = "platform")]
mod alertbook;
mod archive;
mod command;
mod data;
mod fault;
#[cfg(feature = "platform")]
mod http;
#[cfg(feature = "platform")]
mod keys;
mod log;
#[cfg(feature = "platform")]
mod meters;
#[cfg(feature = "platform")]
mod operators;
#[cfg(feature = "platform")]
mod own_health;
#[cfg(feature = "platform")]
mod register_tables;
#[cfg(feature = "platform")]
mod rulebook;
mod server_file;
#[cfg(feature = "platform")]
mod settings;
#[cfg(feature = "platform")]
mod setup_link;
#[cfg(feature = "platform")]
mod sparkplug;
#[cfg(feature = "platform")]
mod upkeep;
mod watched;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// An IoT platform in one binary: every message is durable before it is acknowledged, readings are columns
/// asked with SQL.
///
/// Start it, send it something, ask it:
///
///   godwit serve --data ./godwit-data
///   godwit send --data ./godwit-data dt/office-1/climate '{"temperature": 21.5}'
///   godwit query --data ./godwit-data "SELECT * FROM latest"
#[derive(Parser)]
#[command(name = "godwit", version, verbatim_doc_comment, arg_required_else_help = true)]
struct Arguments {
    /// Say more on stderr: -v what happens, -vv how. `GODWIT_LOG` takes a filter such as `broker=debug`.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the platform: devices by MQTT, operators by HTTP
    #[cfg(feature = "platform")]
    Serve(command::serve::Args),
    /// Publish messages
    #[command(visible_alias = "pub")]
    Send(command::send::Args),
    /// Watch messages as they come
    #[command(visible_alias = "sub")]
    Tail(command::tail::Args),
    /// Send a recording (CSV or JSON lines) as a device, with its own timestamps
    Replay(command::replay::Args),
    /// Take in readings of other systems (CSV, JSON lines, InfluxDB line protocol), with their own times
    Import(Box<command::import::Args>),
    /// Write readings as Parquet, CSV or JSON lines, a file a day
    #[cfg(feature = "platform")]
    Export(command::export::Args),
    /// Run messages of the journal through today's routes
    #[cfg(feature = "platform")]
    Reprocess(command::reprocess::Args),
    /// Try routes before devices do, and see what came without one
    #[cfg(feature = "platform")]
    #[command(subcommand)]
    Route(command::route::Args),
    /// See what the actions of rules deliver, and try again what they gave up
    #[cfg(feature = "platform")]
    #[command(subcommand)]
    Action(command::action::Args),
    /// Ask the readings with SQL
    #[cfg(feature = "platform")]
    Query(command::query::Args),
    /// Add devices and see them
    #[cfg(feature = "platform")]
    #[command(subcommand)]
    Device(command::device::Args),
    /// Groups of devices: make, list, show, remove, join, leave
    #[cfg(feature = "platform")]
    #[command(subcommand)]
    Group(command::group::Args),
    /// Add people, trust them with roles, reset a password
    #[cfg(feature = "platform")]
    #[command(subcommand)]
    User(command::user::Args),
    /// See who did what, and verify that the log of it is as it was written
    #[cfg(feature = "platform")]
    #[command(subcommand)]
    Audit(command::audit::Args),
    /// See what fires and who was told; acknowledge, silence, try dead letters again
    #[cfg(feature = "platform")]
    #[command(subcommand)]
    Alert(command::alert::Args),
    /// Make tokens by which programs speak for a user
    #[cfg(feature = "platform")]
    #[command(subcommand)]
    Token(command::token::Args),
    /// Say what devices may do, and ask why
    #[cfg(feature = "platform")]
    #[command(subcommand)]
    Policy(command::policy::Args),
    /// Let devices get identities of their own, by templates and claims
    #[cfg(feature = "platform")]
    #[command(subcommand)]
    Provision(command::provision::Args),
    /// See who is connected and what waits for whom; end a connection
    #[cfg(feature = "platform")]
    #[command(subcommand)]
    Session(command::session::Args),
    /// See and clear what is kept for later subscribers
    #[cfg(feature = "platform")]
    #[command(subcommand)]
    Retained(command::retained::Args),
    /// See, rotate, move and recover the keys of a data directory
    #[cfg(feature = "platform")]
    #[command(subcommand)]
    Keys(command::keys::Args),
    /// Back up a data directory into one file, while it is served
    #[cfg(feature = "platform")]
    Backup(command::backup::Args),
    /// Make a data directory from a backup
    #[cfg(feature = "platform")]
    Restore(command::restore::Args),
    /// The certificate authority: show, expiry, export-root, import-root
    #[cfg(feature = "platform")]
    #[command(subcommand)]
    Ca(command::ca::Args),
    /// Look for what is wrong, or soon will be, and say what to do
    #[cfg(feature = "platform")]
    Doctor(command::doctor::Args),
    /// Check rules, test them, try them on what was recorded
    #[command(subcommand)]
    Rule(command::rule::Args),
    /// Find the limits of a server
    Load(command::load::Args),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log::start(arguments.verbose);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("door")
        .build()
        .expect("the operating system gives threads");
    let result = runtime.block_on(async {
        match arguments.command {
            #[cfg(feature = "platform")]
            Command::Serve(args) => command::serve::run(args).await,
            Command::Send(args) => command::send::run(args).await,
            Command::Tail(args) => command::tail::run(args).await,
            Command::Replay(args) => command::replay::run(args).await,
            Command::Import(args) => command::import::run(*args).await,
            #[cfg(feature = "platform")]
            Command::Export(args) => command::export::run(args).await,
            #[cfg(feature = "platform")]
            Command::Reprocess(args) => command::reprocess::run(args).await,
            #[cfg(feature = "platform")]
            Command::Route(args) => command::route::run(args).await,
            #[cfg(feature = "platform")]
            Command::Action(args) => command::action::run(args).await,
            #[cfg(feature = "platform")]
            Command::Query(args) => command::query::run(args).await,
            #[cfg(feature = "platform")]
            Command::Device(args) => command::device::run(args).await,
            #[cfg(feature = "platform")]
            Command::Group(args) => command::group::run(args).await,
            #[cfg(feature = "platform")]
            Command::User(args) => command::user::run(args).await,
            #[cfg(feature = "platform")]
            Command::Audit(args) => command::audit::run(args).await,
            #[cfg(feature = "platform")]
            Command::Alert(args) => command::alert::run(args).await,
            #[cfg(feature = "platform")]
            Command::Token(args) => command::token::run(args).await,
            #[cfg(feature = "platform")]
            Command::Policy(args) => command::policy::run(args).await,
            #[cfg(feature = "platform")]
            Command::Provision(args) => command::provision::run(args).await,
            #[cfg(feature = "platform")]
            Command::Session(args) => command::session::run(args).await,
            #[cfg(feature = "platform")]
            Command::Retained(args) => command::retained::run(args).await,
            #[cfg(feature = "platform")]
            Command::Keys(args) => command::keys::run(args).await,
            #[cfg(feature = "platform")]
            Command::Backup(args) => command::backup::run(args).await,
            #[cfg(feature = "platform")]
            Command::Restore(args) => command::restore::run(args).await,
            #[cfg(feature = "platform")]
            Command::Ca(args) => command::ca::run(args).await,
            #[cfg(feature = "platform")]
            Command::Doctor(args) => command::doctor::run(args).await,
            Command::Rule(args) => command::rule::run(args).await,
            Command::Load(args) => command::load::run(args).await,
        }
    });
    // A reader of standard input may sit in a blocking call: nothing waits for it.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fault::report(&error),
    }
}
