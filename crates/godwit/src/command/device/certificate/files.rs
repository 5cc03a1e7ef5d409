//! What a device needs beside its name, as files: `NAME.cert.pem`, `NAME.key.pem`, `ca.pem`.
//!
//! The laws: no file is overwritten, and whatever stands in the way is found before anything is made on the server; a
//! private key is written with mode 0600 and printed nowhere.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use host::{Disk, SystemDisk};
use serde::Deserialize;

use crate::fault::with_hint;

/// Longest request or certificate that is read, in bytes.
pub(super) const PEM_BYTES_MAX: u64 = 64 * 1024;

/// How a certificate is made.
#[derive(Debug, clap::Args)]
pub(crate) struct KeyArgs {
    /// Write NAME.cert.pem, ca.pem and, unless a request is given, NAME.key.pem to this directory; made when it is not there
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Sign this request (PKCS #10; PEM), so that the key stays where it is; without --out the certificate is printed
    #[arg(long, value_name = "FILE")]
    pub(crate) csr: Option<PathBuf>,
}

/// What the server answers.
#[derive(Debug, Deserialize)]
pub(crate) struct Made {
    pub(super) id: String,
    pub(super) not_after: String,
    certificate: String,
    private_key: Option<String>,
    ca: Option<String>,
}

/// Where the files are to go.
pub(crate) struct Place {
    out: Option<PathBuf>,
    /// The part of the request that says whose key it is.
    pub(crate) request: serde_json::Value,
}

impl KeyArgs {
    /// Reads the request and looks whether the files can be written.
    pub(crate) fn prepare(&self, name: &str) -> anyhow::Result<Place> {
        let mut request = serde_json::json!({});
        if let Some(path) = &self.csr {
            request["csr"] = read_pem(path)?.into();
        }
        if let Some(out) = &self.out {
            make_dir(out)?;
            // With a request no key is written: the one that it was made of may well lie there.
            let key = self.csr.is_none().then(|| key_file(out, name));
            for file in key.into_iter().chain([certificate_file(out, name)]) {
                if SystemDisk.open(&file).is_ok() {
                    return Err(with_hint(
                        anyhow::anyhow!("`{}` is there already", file.display()),
                        Some("move it away, or name another directory with --out"),
                    ));
                }
            }
        } else if self.csr.is_none() {
            return Err(with_hint(
                anyhow::anyhow!("the private key needs a place"),
                Some("name a directory with --out DIR, or give a request with --csr FILE"),
            ));
        }
        Ok(Place { out: self.out.clone(), request })
    }
}

impl Place {
    /// Writes the files and says which to `said`, or says the certificate itself.
    pub(crate) fn write(&self, name: &str, made: &Made, said: &mut impl Write) -> anyhow::Result<()> {
        let Some(out) = &self.out else {
            said.write_all(made.certificate.as_bytes())?;
            return Ok(());
        };
        let write = |path: &Path, text: &str| made.write(path, text);
        // All files first: who listens may have heard enough (`| head`), and a key that is not written is lost.
        let mut told = Vec::new();
        made.say(name, &mut told)?;
        if let Some(key) = &made.private_key {
            let path = key_file(out, name);
            write(&path, key)?;
            writeln!(told, "key          {}    (kept nowhere else)", path.display())?;
        }
        let path = certificate_file(out, name);
        write(&path, &made.certificate)?;
        writeln!(told, "             {}", path.display())?;
        made.write_trusted(out, &mut told)?;
        said.write_all(&told)?;
        Ok(())
    }
}

impl Made {
    /// Says which certificate whose it is.
    pub(crate) fn say(&self, name: &str, said: &mut impl Write) -> anyhow::Result<()> {
        writeln!(said, "device       {name}")?;
        writeln!(said, "certificate  {}    good until {}", self.id, self.not_after)?;
        Ok(())
    }

    /// Writes what the device trusts, and says where.
    pub(crate) fn write_trusted(&self, out: &Path, said: &mut impl Write) -> anyhow::Result<()> {
        if let Some(ca) = &self.ca {
            let path = out.join("ca.pem");
            self.write(&path, ca)?;
            writeln!(said, "trusts       {}", path.display())?;
        }
        Ok(())
    }

    fn write(&self, path: &Path, text: &str) -> anyhow::Result<()> {
        // `replace` makes files with mode 0600.
        SystemDisk.replace(path, text.as_bytes()).map_err(|error| {
            let lost = format!("godwit device certificate revoke {}", self.id);
            with_hint(
                anyhow::Error::new(error).context(format!("cannot write `{}`", path.display())),
                Some(format!("the certificate is of no use without its files. Run: {lost}")),
            )
        })
    }
}

/// Makes a directory for files, unless it is there.
pub(crate) fn make_dir(out: &Path) -> anyhow::Result<()> {
    SystemDisk.create_dir(out).with_context(|| format!("cannot make directory `{}`", out.display()))
}

/// Reads a PEM file.
pub(crate) fn read_pem(path: &Path) -> anyhow::Result<String> {
    let bytes =
        SystemDisk.read(path, PEM_BYTES_MAX).with_context(|| format!("cannot read `{}`", path.display()))?;
    String::from_utf8(bytes).map_err(|_| {
        with_hint(
            anyhow::anyhow!("`{}` is not PEM", path.display()),
            Some(
                "turn DER into PEM: openssl x509 -inform der -in FILE (or openssl req -inform der -in FILE)",
            ),
        )
    })
}

fn certificate_file(out: &Path, name: &str) -> PathBuf {
    out.join(format!("{name}.cert.pem"))
}

fn key_file(out: &Path, name: &str) -> PathBuf {
    out.join(format!("{name}.key.pem"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_are_written_though_nobody_listens() {
        let dir = tempfile::tempdir().expect("a directory");
        let made = Made {
            id: "00".to_owned(),
            not_after: "2046-11-18T14:21:36Z".to_owned(),
            certificate: "certificate".to_owned(),
            private_key: Some("key".to_owned()),
            ca: Some("ca".to_owned()),
        };
        let place = Place { out: Some(dir.path().to_owned()), request: serde_json::Value::Null };
        let (gone, mut pipe) = std::io::pipe().expect("a pipe");
        drop(gone);
        let error = place.write("pump-1", &made, &mut pipe).expect_err("nobody listens");
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        assert_eq!(kind, Some(std::io::ErrorKind::BrokenPipe));
        for (file, text) in [("pump-1.key.pem", "key"), ("pump-1.cert.pem", "certificate"), ("ca.pem", "ca")]
        {
            assert_eq!(SystemDisk.read(&dir.path().join(file), 64).expect(file), text.as_bytes());
        }
    }
}
