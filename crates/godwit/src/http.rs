//! How commands reach the HTTP API of a server: where it is, the token, and its answers.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use reqwest::{Method, RequestBuilder, Response};
use serde::Deserialize;

use crate::fault::with_hint;
use crate::server_file::ServerFile;

/// How long connecting may take. Answers may take longer: the server bounds its queries itself.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// Which server a command talks to.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// Data directory of a server on this machine: its address and token are found there
    #[arg(long, value_name = "DIR", env = "GODWIT_DATA", help_heading = "Server")]
    pub(crate) data: Option<PathBuf>,
    /// HTTP API of the server, such as http://127.0.0.1:8080
    #[arg(long, value_name = "URL", env = "GODWIT_SERVER", help_heading = "Server")]
    server: Option<String>,
    /// Token for the HTTP API
    #[arg(long, value_name = "TOKEN", env = "GODWIT_TOKEN", hide_env_values = true, help_heading = "Server")]
    token: Option<String>,
}

impl ServerArgs {
    /// The data directory that is meant when no URL is given.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(crate::data::default_dir)
    }

    /// Whether a URL names the server, so that nothing can be said of the machine it runs on.
    pub(crate) fn is_remote(&self) -> bool {
        self.server.is_some()
    }

    /// Finds the server. A URL wins over a directory.
    pub(crate) fn find(&self) -> anyhow::Result<Server> {
        let (url, token) = match &self.server {
            Some(url) => (url.trim_end_matches('/').to_owned(), self.token.clone()),
            None => {
                let file = ServerFile::read(&self.data_dir())?;
                (format!("http://{}", file.http), self.token.clone().or(Some(file.token)))
            }
        };
        let http = reqwest::Client::builder().connect_timeout(CONNECT_PATIENCE).no_proxy().build()?;
        Ok(Server { url, token, login: None, http })
    }
}

/// A server's HTTP API.
pub(crate) struct Server {
    url: String,
    token: Option<String>,
    /// The cookie of a login and what goes beside it, in the place of a token.
    login: Option<(String, String)>,
    http: reqwest::Client,
}

/// A text as a part of a path or a query (RFC 3986, section 2.1).
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// What the server answers when it refuses (RFC 9457).
#[derive(Debug, Deserialize)]
struct Problem {
    title: String,
    detail: Option<String>,
    hint: Option<String>,
}

impl Server {
    /// Asks; a refusal becomes an error with the server's own words and hint.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Option<&serde_json::Value>,
    ) -> anyhow::Result<Response> {
        let mut request = self.request(method, path).header("accept", accept);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.answered(request, path).await
    }

    /// Logs a user in, who speaks from then on.
    pub(crate) async fn log_in(&mut self, name: &str, password: &str) -> anyhow::Result<()> {
        #[derive(Deserialize)]
        struct LoggedIn {
            csrf: String,
        }
        let body = serde_json::json!({ "name": name, "password": password });
        let answer = self.ask(Method::POST, "/api/v1/login", "application/json", Some(&body)).await?;
        let cookie = answer.headers().get("set-cookie").and_then(|value| value.to_str().ok());
        let cookie = cookie.and_then(|value| value.split(';').next()).unwrap_or_default().to_owned();
        let LoggedIn { csrf } = answer.json().await.context("the login was answered with something else")?;
        self.login = Some((cookie, csrf));
        Ok(())
    }

    /// Puts a text as it is; JSON comes back.
    pub(crate) async fn put_text<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        text: String,
        headers: &[(&'static str, String)],
    ) -> anyhow::Result<T> {
        let mut request =
            self.request(Method::PUT, path).header("content-type", "application/json").body(text);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let answer = self.answered(request, path).await?;
        answer
            .json()
            .await
            .with_context(|| format!("{}{path} answered something else than expected", self.url))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match (&self.login, &self.token) {
            (Some((cookie, csrf)), _) => request.header("cookie", cookie).header("x-godwit-csrf", csrf),
            (None, Some(token)) => request.bearer_auth(token),
            (None, None) => request,
        }
    }

    async fn answered(&self, request: RequestBuilder, path: &str) -> anyhow::Result<Response> {
        let answer = request.send().await.map_err(|error| {
            let unreachable = error.is_connect() || error.is_timeout();
            let hint = unreachable.then_some("is `godwit serve` running there?");
            with_hint(anyhow::Error::new(error).context(format!("cannot reach {}", self.url)), hint)
        })?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        match serde_json::from_str::<Problem>(&text) {
            Ok(problem) => {
                Err(with_hint(anyhow::anyhow!(problem.detail.unwrap_or(problem.title)), problem.hint))
            }
            Err(_) => anyhow::bail!("{}{path} answered {status}", self.url),
        }
    }

    /// Asks for JSON.
    pub(crate) async fn json<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> anyhow::Result<T> {
        let answer = self.ask(method, path, "application/json", body).await?;
        answer
            .json()
            .await
            .with_context(|| format!("{}{path} answered something else than expected", self.url))
    }
}
