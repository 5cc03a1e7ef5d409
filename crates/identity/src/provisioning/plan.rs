//! What a template says for one device: names, attributes, groups, policies, all checked.
//!
//! Not here: whether the register takes it (`register`). The law: nothing is left to be evaluated when the transaction begins.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use model::{DeviceName, GroupPath};
use serde_json::{Map, Value};

use super::ProvisionError;
use super::intrinsic::{Flaw, Parameter, Values};
use super::template::{Overrides, Template};
use crate::policy::{Document, PolicyName};
use crate::{Attributes, CertificateId, CertificateStatus};

/// Most parameters that a device sends, and the longest value in bytes.
const PARAMETERS_MAX: usize = 64;
const PARAMETER_BYTES_MAX: usize = 1024;

/// The attribute that holds the name of the thing's type: Godwit has no types of things.
const TYPE_ATTRIBUTE: &str = "type";

/// What is to be done.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) thing: Option<PlannedThing>,
    pub(super) status: CertificateStatus,
    pub(super) policies: Vec<PlannedPolicy>,
    pub(super) configuration: Map<String, Value>,
}

#[derive(Debug)]
pub(super) struct PlannedThing {
    pub(super) name: DeviceName,
    pub(super) attributes: Attributes,
    pub(super) kind: Attributes,
    pub(super) groups: Vec<GroupPath>,
    pub(super) over: Overrides,
}

#[derive(Debug)]
pub(super) struct PlannedPolicy {
    pub(super) name: PolicyName,
    /// Of one that is made when it is not there.
    pub(super) document: Option<(String, Document)>,
}

impl From<Flaw> for ProvisionError {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Parameters(what) => Self::Parameters(what),
            Flaw::Template(what) => Self::Refused(what),
        }
    }
}

fn refused(error: &impl std::error::Error) -> ProvisionError {
    ProvisionError::Refused(error.to_string())
}

impl Plan {
    /// What `template` says for a device that sent these parameters and holds this certificate.
    pub(super) fn of(
        template: &Template,
        sent: &Map<String, Value>,
        certificate: &CertificateId,
    ) -> Result<Self, ProvisionError> {
        let parameters = parameters(template, sent)?;
        let certificate = certificate.to_string();
        let values = Values {
            parameters: &parameters,
            mappings: &template.mappings,
            certificate: &certificate,
            refuses_empty: false,
        };
        if values.text(&template.certificate["CertificateId"], false)? != certificate {
            return Err(ProvisionError::Refused("`CertificateId` is another certificate".to_owned()));
        }
        let status = match template.certificate.get("Status") {
            None => CertificateStatus::Active,
            Some(status) => match values.text(status, false)?.to_ascii_lowercase().as_str() {
                "active" => CertificateStatus::Active,
                "inactive" => CertificateStatus::Inactive,
                other => {
                    let what = format!("`Status` is `{other}`; ACTIVE and INACTIVE are known");
                    return Err(ProvisionError::Refused(what));
                }
            },
        };
        let thing = template.thing.as_ref();
        let thing = thing.map(|thing| planned(&values, &thing.properties, thing.over)).transpose()?;
        let policies = template.policies.iter().map(|properties| policy(&values, properties));
        let mut policies = policies.collect::<Result<Vec<_>, _>>()?;
        policies.sort_by(|one, other| one.name.cmp(&other.name));
        policies.dedup_by(|one, other| one.name == other.name);
        let configuration = template
            .configuration
            .iter()
            .map(|(key, node)| Ok((key.clone(), values.of(node, false)?)))
            .collect::<Result<_, Flaw>>()?;
        Ok(Self { thing, status, policies, configuration })
    }
}

/// What was sent, over the defaults. What the template does not know is passed over: a device sends all it has.
fn parameters(
    template: &Template,
    sent: &Map<String, Value>,
) -> Result<BTreeMap<String, Parameter>, ProvisionError> {
    let wrong = |what: String| Err(ProvisionError::Parameters(what));
    if sent.len() > PARAMETERS_MAX {
        return wrong(format!("{} parameters; the most is {PARAMETERS_MAX}", sent.len()));
    }
    let mut parameters = BTreeMap::new();
    for (name, parameter) in &template.parameters {
        if let Some(default) = parameter.get("Default").and_then(Value::as_str) {
            parameters.insert(name.clone(), Parameter { value: default.to_owned(), is_sent: false });
        }
        let Some(value) = sent.get(name) else { continue };
        let Some(value) = value.as_str() else { return wrong(format!("parameter `{name}` is not a text")) };
        if value.len() > PARAMETER_BYTES_MAX {
            let bytes = value.len();
            return wrong(format!("parameter `{name}` is {bytes} bytes; the most is {PARAMETER_BYTES_MAX}"));
        }
        parameters.insert(name.clone(), Parameter { value: value.to_owned(), is_sent: true });
    }
    Ok(parameters)
}

fn planned(
    values: &Values<'_>,
    properties: &Map<String, Value>,
    over: Overrides,
) -> Result<PlannedThing, ProvisionError> {
    let name = Values { refuses_empty: true, ..*values }.text(&properties["ThingName"], false)?;
    let name = DeviceName::parse(name).map_err(|error| refused(&error))?;
    let mut pairs = Vec::new();
    if let Some(payload) = properties.get("AttributePayload") {
        let Value::Object(payload) = payload else {
            return Err(ProvisionError::Refused("`AttributePayload` is not an object".to_owned()));
        };
        for (key, node) in payload {
            pairs.push((key.clone(), values.text(node, false)?));
        }
    }
    let kind = properties.get("ThingTypeName").map(|node| values.text(node, false)).transpose()?;
    let kind = kind.map(|kind| (TYPE_ATTRIBUTE, kind));
    let groups = match properties.get("ThingGroups").map(|node| values.of(node, false)).transpose()? {
        None => Vec::new(),
        Some(Value::Array(groups)) => groups,
        Some(_) => return Err(ProvisionError::Refused("`ThingGroups` is not a list".to_owned())),
    };
    let groups = groups.into_iter().map(|group| {
        let path = group.as_str().unwrap_or_default().to_owned();
        GroupPath::parse(path).map_err(|error| refused(&error))
    });
    Ok(PlannedThing {
        name,
        attributes: Attributes::new(pairs).map_err(|error| refused(&error))?,
        kind: Attributes::new(kind).map_err(|error| refused(&error))?,
        groups: groups.collect::<Result<_, _>>()?,
        over,
    })
}

fn policy(values: &Values<'_>, properties: &Map<String, Value>) -> Result<PlannedPolicy, ProvisionError> {
    if let Some(name) = properties.get("PolicyName") {
        let name = values.text(name, true)?;
        let name = PolicyName::parse(name).map_err(|error| refused(&error))?;
        return Ok(PlannedPolicy { name, document: None });
    }
    let text = match values.of(&properties["PolicyDocument"], true)? {
        Value::String(text) => text,
        document => document.to_string(),
    };
    let document = Document::parse(&text).map_err(|error| refused(&error))?;
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let name = PolicyName::parse(hex).map_err(|error| refused(&error))?;
    Ok(PlannedPolicy { name, document: Some((text, document)) })
}
