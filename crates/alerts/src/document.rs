//! What an episode says, as it lies sealed in its row: labels, annotations, values.
//!
//! Not here: names, times and states, which stay readable. The law: what is read is what was written, to the last bit of
//! a number; a document of a later version that says more is read for what is known of it.

use std::collections::BTreeMap;

use model::Value;
use serde::{Deserialize, Serialize};

use crate::Episode;

/// The sealed part of an episode.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Document {
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
    #[serde(default)]
    values: BTreeMap<String, Said>,
}

/// A value in JSON: a number, a text, or both for an integer too large for a number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Said {
    Number(f64),
    Text(String),
    Both(f64, String),
}

impl From<&Value> for Said {
    fn from(value: &Value) -> Self {
        match value {
            Value::Number(number) => Self::Number(*number),
            Value::Text(text) => Self::Text(text.to_string()),
            Value::BigInteger(number, digits) => Self::Both(*number, digits.to_string()),
        }
    }
}

impl From<Said> for Value {
    fn from(said: Said) -> Self {
        match said {
            Said::Number(number) => Self::Number(number),
            Said::Text(text) => Self::Text(text.into()),
            Said::Both(number, digits) => Self::BigInteger(number, digits.into()),
        }
    }
}

impl Document {
    pub(crate) fn of(episode: &Episode) -> Self {
        Self {
            labels: episode.labels.clone(),
            annotations: episode.annotations.clone(),
            values: episode.values.iter().map(|(name, value)| (name.clone(), value.into())).collect(),
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and finite numbers are JSON")
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    pub(crate) fn into_values(self) -> BTreeMap<String, Value> {
        self.values.into_iter().map(|(name, said)| (name, said.into())).collect()
    }
}
