//! `godwit user`: the people who may use a server, and what they are trusted with.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::Context;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::fault::with_hint;
use crate::http::{Server, ServerArgs, encoded};

/// What `--help` says behind the flags.
const HELP: &str =
    "Roles: `viewer` may look, `operator` may also change what devices do, `admin` may also decide who may. A role
holds everywhere, or in a group and those below it: `operator@hq/floor-17`.

Examples:
  godwit user add alice --role admin            # prints a password, once
  godwit user add bob --role viewer --role operator@hq/floor-17 --ask
  godwit user role bob viewer                   # these roles and no others, at once
  godwit user password alice --own              # one's own: asks for the old one and the new one
  godwit user reset alice --data DIR            # on the server's machine: a new password, logged out everywhere
  godwit user remove bob";

/// The forms of `godwit user`.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = HELP)]
pub(crate) enum Args {
    /// Add a user
    Add(Add),
    /// List users
    List(List),
    /// Show one user
    Show(One),
    /// Give a user these roles and no others
    Role(Role),
    /// Give a user a new password; logins and MQTT sessions by the old one end
    #[command(visible_alias = "reset")]
    Password(Password),
    /// Remove a user, with tokens and logins
    Remove(One),
    /// Show who is logged in
    Logins(List),
    /// End a login
    Logout(Logout),
}

/// Arguments of `godwit user add`.
#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    /// Name: lower case, digits, `.`, `_`, `@` and `-`
    name: String,
    /// What to be trusted with; several are given one by one
    #[arg(long = "role", value_name = "ROLE[@GROUP]")]
    roles: Vec<String>,
    /// Ask for the password on the terminal, rather than make one
    #[arg(long)]
    ask: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit user list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of what is about one user.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// Name
    name: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit user role`.
#[derive(Debug, clap::Args)]
pub(crate) struct Role {
    /// Name
    name: String,
    /// `viewer`, `operator@hq/floor-17`, …; without any the user may nothing
    #[arg(value_name = "ROLE[@GROUP]")]
    roles: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit user password`.
#[derive(Debug, clap::Args)]
pub(crate) struct Password {
    /// Name
    name: String,
    /// Ask for the password on the terminal, rather than make one
    #[arg(long)]
    ask: bool,
    /// Change one's own, by the old one: no admin and no token is needed. Asks on the terminal, or reads two lines of what
    /// is piped in: the old one and the new one
    #[arg(long, conflicts_with = "ask")]
    own: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit user logout`.
#[derive(Debug, clap::Args)]
pub(crate) struct Logout {
    /// The login's id, as `godwit user logins` shows it
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Deserialize, Serialize)]
struct User {
    name: String,
    roles: Vec<String>,
    revision: u64,
    created: String,
    tokens: usize,
}

#[derive(Deserialize)]
struct Users {
    users: Vec<User>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Made {
    password: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct Login {
    id: String,
    user: String,
    address: Option<String>,
    created: String,
    seen: String,
}

#[derive(Deserialize)]
struct Logins {
    logins: Vec<Login>,
    next: Option<String>,
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args {
        Args::Add(args) => add(args).await,
        Args::List(args) => list(args).await,
        Args::Show(args) => show(args).await,
        Args::Role(args) => role(args).await,
        Args::Password(args) => password(args).await,
        Args::Remove(args) => remove(args).await,
        Args::Logins(args) => logins(args).await,
        Args::Logout(args) => logout(args).await,
    }
}

async fn add(args: Add) -> anyhow::Result<()> {
    let server = args.server.find()?;
    let chosen = args.ask.then(ask).transpose()?;
    let body = json!({ "name": args.name, "roles": args.roles, "password": chosen });
    let made: Made = server.json(Method::POST, "/api/v1/users", Some(&body)).await?;
    say_password(&args.name, made)
}

async fn password(args: Password) -> anyhow::Result<()> {
    if args.own {
        return own_password(args).await;
    }
    let server = args.server.find()?;
    let chosen = args.ask.then(ask).transpose()?;
    let path = format!("/api/v1/users/{}/password", encoded(&args.name));
    let made: Made = server.json(Method::POST, &path, Some(&json!({ "password": chosen }))).await?;
    say_password(&args.name, made)
}

async fn own_password(args: Password) -> anyhow::Result<()> {
    let mut server = args.server.find()?;
    let (old, new) = if std::io::stdin().is_terminal() {
        (rpassword::prompt_password("Password of today: ")?, ask()?)
    } else {
        let mut lines = std::io::stdin().lock().lines();
        let mut next = |what| lines.next().transpose()?.with_context(|| format!("{what} was not piped in"));
        (next("the password of today")?, next("the new password")?)
    };
    server.log_in(&args.name, &old).await?;
    let body = json!({ "password": old, "new": new });
    let changed = server.ask(Method::POST, "/api/v1/me/password", "application/json", Some(&body)).await;
    // The login was for this alone.
    server.ask(Method::POST, "/api/v1/logout", "application/json", None).await?;
    changed?;
    writeln!(std::io::stdout(), "user {} has another password; every other login has ended", args.name)?;
    Ok(())
}

fn say_password(name: &str, made: Made) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "user      {name}")?;
    if let Some(password) = made.password {
        writeln!(out, "password  {password}    (shown this once)")?;
    }
    Ok(())
}

fn ask() -> anyhow::Result<String> {
    let ask = |prompt: &str| {
        rpassword::prompt_password(prompt).map_err(|error| {
            let error = anyhow::Error::new(error).context("there is no terminal to ask for the password on");
            with_hint(error, Some("leave --ask out: a password is made and printed once"))
        })
    };
    let (first, second) = (ask("Password: ")?, ask("Once more: ")?);
    anyhow::ensure!(first == second, "the two passwords differ");
    Ok(first)
}

async fn list(args: List) -> anyhow::Result<()> {
    let server = args.server.find()?;
    let mut out = std::io::stdout().lock();
    let mut after = String::new();
    loop {
        let page: Users = server.json(Method::GET, &format!("/api/v1/users?limit=1000{after}"), None).await?;
        if !args.json && after.is_empty() {
            writeln!(out, "{:<24} {:>6} {:<27} roles", "name", "tokens", "created")?;
        }
        for user in &page.users {
            if args.json {
                writeln!(out, "{}", serde_json::to_string(user)?)?;
            } else {
                let roles = user.roles.join(" ");
                writeln!(out, "{:<24} {:>6} {:<27} {roles}", user.name, user.tokens, user.created)?;
            }
        }
        match page.next {
            Some(next) => after = format!("&after={}", encoded(&next)),
            None => return Ok(()),
        }
    }
}

async fn show(args: One) -> anyhow::Result<()> {
    let path = format!("/api/v1/users/{}", encoded(&args.name));
    let user: User = args.server.find()?.json(Method::GET, &path, None).await?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "user      {}", user.name)?;
    writeln!(
        out,
        "roles     {}",
        if user.roles.is_empty() { "none".to_owned() } else { user.roles.join(" ") }
    )?;
    writeln!(out, "created   {}", user.created)?;
    writeln!(out, "tokens    {}", user.tokens)?;
    Ok(())
}

async fn role(args: Role) -> anyhow::Result<()> {
    let path = format!("/api/v1/users/{}/roles", encoded(&args.name));
    let body = json!({ "roles": args.roles });
    args.server.find()?.ask(Method::PUT, &path, "application/json", Some(&body)).await?;
    let roles = if args.roles.is_empty() { "no role".to_owned() } else { args.roles.join(" ") };
    writeln!(std::io::stdout(), "user {} has {roles}", args.name)?;
    Ok(())
}

async fn remove(args: One) -> anyhow::Result<()> {
    let path = format!("/api/v1/users/{}", encoded(&args.name));
    args.server.find()?.ask(Method::DELETE, &path, "application/json", None).await?;
    writeln!(std::io::stdout(), "user {} is removed, with tokens and logins", args.name)?;
    Ok(())
}

async fn logins(args: List) -> anyhow::Result<()> {
    let server: Server = args.server.find()?;
    let mut out = std::io::stdout().lock();
    let mut after = String::new();
    loop {
        let page: Logins =
            server.json(Method::GET, &format!("/api/v1/logins?limit=1000{after}"), None).await?;
        if !args.json && after.is_empty() {
            writeln!(out, "{:<16} {:<24} {:<27} {:<27} from", "id", "user", "since", "last used")?;
        }
        for login in &page.logins {
            if args.json {
                writeln!(out, "{}", serde_json::to_string(login)?)?;
            } else {
                let Login { id, user, created, seen, address } = login;
                let address = address.as_deref().unwrap_or("-");
                writeln!(out, "{id:<16} {user:<24} {created:<27} {seen:<27} {address}")?;
            }
        }
        match page.next {
            Some(next) => after = format!("&after={}", encoded(&next)),
            None => return Ok(()),
        }
    }
}

async fn logout(args: Logout) -> anyhow::Result<()> {
    let path = format!("/api/v1/logins/{}", encoded(&args.id));
    args.server.find()?.ask(Method::DELETE, &path, "application/json", None).await?;
    writeln!(std::io::stdout(), "login {} is ended", args.id)?;
    Ok(())
}
