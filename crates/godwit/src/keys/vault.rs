//! The master key in Vault's Transit engine (or OpenBao's, which speaks the same): asked to wrap and unwrap the ring's keys.
//!
//! | what | request |
//! |---|---|
//! | wrap | `POST /v1/{mount}/encrypt/{key}` `{"plaintext", "associated_data"}` |
//! | unwrap | `POST /v1/{mount}/decrypt/{key}` `{"ciphertext", "associated_data"}` |
//! | rotate | `POST /v1/{mount}/keys/{key}/rotate` |
//!
//! Asked at the start, at a rotation and for a recovery code; never for a message. Not here: what is wrapped. The law: an
//! answer that is not what was asked for is an error that names Vault and what it said, and never shows the token.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use host::{DataKey, KeyError, MasterKey, Random};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::fault::with_hint;

/// How long Vault may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest answer that is shown of.
const SHOWN_CHARS: usize = 200;

/// `[keys.vault]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VaultSettings {
    /// Where Vault is: `https://vault.example:8200`, or an agent of it on this machine: `http://127.0.0.1:8100`.
    pub(crate) url: String,
    /// A file with the certificates (PEM) that Vault's own must come from, beside those that the machine trusts.
    pub(crate) ca: Option<PathBuf>,
    /// The name of the Transit key; of a type with associated data, as `aes256-gcm96`.
    pub(crate) key: String,
    /// Where the Transit engine is mounted.
    #[serde(default = "transit")]
    pub(crate) mount: String,
    /// A file that holds the token. Default: environment variable `VAULT_TOKEN`.
    pub(crate) token_file: Option<PathBuf>,
    /// Vault's namespace.
    pub(crate) namespace: Option<String>,
}

fn transit() -> String {
    "transit".to_owned()
}

/// The master key wraps what opens the data, and the token opens it: neither goes over a wire in the clear.
fn check_url(text: &str) -> anyhow::Result<()> {
    let url = reqwest::Url::parse(text)
        .with_context(|| format!("`[keys.vault] url` is `{text}`, which is no address"))?;
    let host = url.host_str().unwrap_or_default();
    let is_here = host == "localhost"
        || host.trim_matches(['[', ']']).parse().is_ok_and(|address: IpAddr| address.is_loopback());
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_here => Ok(()),
        "http" => Err(with_hint(
            anyhow::anyhow!(
                "`[keys.vault] url` is `{text}`: keys and the token would go over the wire in the clear"
            ),
            Some(
                "write `https://`, with `ca = \"FILE\"` when Vault's certificate is from a CA of your own; plain HTTP is for an agent on this machine",
            ),
        )),
        _ => Err(with_hint(
            anyhow::anyhow!("`[keys.vault] url` is `{text}`"),
            Some("write `https://HOST:8200`"),
        )),
    }
}

/// A Transit key.
pub(super) struct Transit {
    settings: VaultSettings,
    token: Zeroizing<String>,
    http: reqwest::Client,
}

impl Transit {
    /// Reads what is needed to ask; asks nothing yet.
    pub(super) fn open(settings: &VaultSettings) -> anyhow::Result<Self> {
        let settings =
            VaultSettings { url: settings.url.trim_end_matches('/').to_owned(), ..settings.clone() };
        check_url(&settings.url)?;
        let read = |path: &PathBuf| {
            host::Disk::read(&host::SystemDisk, path, 1024 * 1024)
                .with_context(|| format!("cannot read `{}`, which `[keys.vault]` names", path.display()))
        };
        let token = match &settings.token_file {
            Some(path) => String::from_utf8(read(path)?)
                .with_context(|| format!("`{}` is not text", path.display()))?,
            None => std::env::var("VAULT_TOKEN").map_err(|_| {
                with_hint(
                    anyhow::anyhow!("there is no token for Vault"),
                    Some("set environment variable `VAULT_TOKEN`, or name a file with `[keys.vault] token_file`"),
                )
            })?,
        };
        // An answer that points elsewhere would be followed with the token.
        let mut http =
            reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none());
        if let Some(ca) = &settings.ca {
            let certificates = reqwest::Certificate::from_pem_bundle(&read(ca)?)
                .with_context(|| format!("`{}` holds no certificates (PEM)", ca.display()))?;
            anyhow::ensure!(!certificates.is_empty(), "`{}` holds no certificates (PEM)", ca.display());
            http = http.tls_certs_merge(certificates);
        }
        let http = http.build().context("cannot make an HTTP client for Vault")?;
        Ok(Self { settings, token: Zeroizing::new(token.trim().to_owned()), http })
    }

    /// Asks, and waits for the answer: on a thread of its own, for the caller may be one of a runtime's.
    fn ask(&self, what: &str, body: &Value) -> Result<Value, KeyError> {
        let url = format!("{}/v1/{}/{what}", self.settings.url, self.settings.mount);
        let failed = |reason: String| KeyError::Keeper { place: format!("Vault at {url}"), reason };
        let asked = async {
            let mut request = self.http.post(&url).header("X-Vault-Token", self.token.as_str());
            if let Some(namespace) = &self.settings.namespace {
                request = request.header("X-Vault-Namespace", namespace);
            }
            let answer = request.json(body).send().await.map_err(|error| failed(in_one_line(&error)))?;
            let status = answer.status();
            let text = Zeroizing::new(answer.text().await.map_err(|error| failed(in_one_line(&error)))?);
            if !status.is_success() {
                let said: String = text.chars().take(SHOWN_CHARS).collect();
                return Err(failed(format!("{status}: {}", said.trim().escape_debug())));
            }
            // A rotation may be answered by nothing at all.
            match text.is_empty() {
                true => Ok(Value::Null),
                false => serde_json::from_str(&text).map_err(|_| failed("its answer is not JSON".to_owned())),
            }
        };
        std::thread::scope(|threads| {
            let asking = threads.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.map_err(|error| failed(error.to_string()))?.block_on(asked)
            });
            asking.join().unwrap_or_else(|_| Err(failed("asking it failed".to_owned())))
        })
    }

    fn text<'a>(&self, answer: &'a Value, field: &str) -> Result<&'a str, KeyError> {
        answer["data"][field].as_str().ok_or_else(|| KeyError::Keeper {
            place: format!("Vault at {}", self.settings.url),
            reason: format!("its answer has no `data.{field}`"),
        })
    }
}

fn in_one_line(error: &reqwest::Error) -> String {
    model::in_one_line(error)
}

impl MasterKey for Transit {
    fn id(&self) -> String {
        format!("vault:{}/{}", self.settings.mount, self.settings.key)
    }

    fn wrap(&self, key: &DataKey, context: &[u8], _random: &dyn Random) -> Result<String, KeyError> {
        let plaintext = Zeroizing::new(BASE64.encode(**key));
        let body = json!({ "plaintext": &**plaintext, "associated_data": BASE64.encode(context) });
        let answer = self.ask(&format!("encrypt/{}", self.settings.key), &body)?;
        Ok(self.text(&answer, "ciphertext")?.to_owned())
    }

    fn unwrap(&self, wrapped: &str, context: &[u8]) -> Result<DataKey, KeyError> {
        let body = json!({ "ciphertext": wrapped, "associated_data": BASE64.encode(context) });
        let answer = self.ask(&format!("decrypt/{}", self.settings.key), &body)?;
        let plaintext = self.text(&answer, "plaintext")?;
        let bytes = Zeroizing::new(BASE64.decode(plaintext).map_err(|_| KeyError::Damaged)?);
        let mut key = DataKey::new([0; 32]);
        if bytes.len() != key.len() {
            return Err(KeyError::Damaged);
        }
        key.copy_from_slice(&bytes);
        Ok(key)
    }

    fn renew(&self) -> Result<(), KeyError> {
        self.ask(&format!("keys/{}/rotate", self.settings.key), &json!({})).map(drop)
    }
}
