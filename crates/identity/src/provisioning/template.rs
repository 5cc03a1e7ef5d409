//! What a provisioning template is: JSON in the form of AWS IoT, checked when it is put.
//!
//! Not here: what becomes of it for one device (`plan`). The law: what Godwit would not do is refused when the template is
//! put, by its name, and not passed over when a device comes.

use model::Kind;
use serde_json::{Map, Value};

use super::intrinsic::{CERTIFICATE_ID, FUNCTIONS, function};

/// Longest template, in characters, as AWS's.
pub const TEMPLATE_CHARACTERS_MAX: usize = 10_240;

/// Most policies of one template: a target has no more.
const POLICIES_MAX: usize = crate::policy::POLICIES_PER_TARGET_MAX;

/// Why a template is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It is too long.
    #[error("the template has {characters} characters; the most is {TEMPLATE_CHARACTERS_MAX}")]
    TooLong {
        /// How many.
        characters: usize,
    },
    /// It is no JSON.
    #[error("the template is not JSON: {0}")]
    Json(String),
    /// Something in it is not right.
    #[error("{place}: {what}")]
    Wrong {
        /// Where.
        place: String,
        /// What.
        what: String,
    },
}

impl TemplateError {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

/// A template that was checked.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) parameters: Map<String, Value>,
    pub(super) mappings: Map<String, Value>,
    pub(super) configuration: Map<String, Value>,
    pub(super) thing: Option<Thing>,
    /// The properties of the certificate.
    pub(super) certificate: Map<String, Value>,
    /// The properties of each policy.
    pub(super) policies: Vec<Map<String, Value>>,
}

/// The device that a template makes.
#[derive(Debug)]
pub(super) struct Thing {
    pub(super) properties: Map<String, Value>,
    pub(super) over: Overrides,
}

/// What becomes of the properties of a device that is there.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Overrides {
    pub(super) attributes: Override,
    pub(super) kind: Override,
    pub(super) groups: Override,
}

/// What becomes of one property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Override {
    /// It stays.
    Nothing,
    /// It is what the template says.
    Replace,
    /// What the template says is refused if it would change it.
    #[default]
    Fail,
    /// What the template says is added.
    Merge,
}

fn wrong(place: impl Into<String>, what: impl Into<String>) -> TemplateError {
    TemplateError::Wrong { place: place.into(), what: what.into() }
}

fn object<'a>(place: &str, value: &'a Value) -> Result<&'a Map<String, Value>, TemplateError> {
    value.as_object().ok_or_else(|| wrong(place, "must be an object"))
}

fn only(place: &str, members: &Map<String, Value>, known: &[&str]) -> Result<(), TemplateError> {
    match members.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(wrong(place, format!("`{key}` is not known; {} are", known.join(", ")))),
        None => Ok(()),
    }
}

impl Template {
    /// Reads and checks a template.
    pub(super) fn parse(text: &str) -> Result<Self, TemplateError> {
        let characters = text.chars().count();
        if characters > TEMPLATE_CHARACTERS_MAX {
            return Err(TemplateError::TooLong { characters });
        }
        let whole: Value =
            serde_json::from_str(text).map_err(|error| TemplateError::Json(error.to_string()))?;
        let whole = object("template", &whole)?;
        only("template", whole, &["Parameters", "Mappings", "Resources", "DeviceConfiguration"])?;
        let part = |name: &str| match whole.get(name) {
            None => Ok(Map::new()),
            Some(value) => object(name, value).cloned(),
        };
        let mut template = Self {
            parameters: part("Parameters")?,
            mappings: part("Mappings")?,
            configuration: part("DeviceConfiguration")?,
            thing: None,
            certificate: Map::new(),
            policies: Vec::new(),
        };
        for (name, parameter) in &template.parameters {
            let place = format!("Parameters.{name}");
            let members = object(&place, parameter)?;
            only(&place, members, &["Type", "Default"])?;
            if members.get("Type") != Some(&Value::from("String")) {
                return Err(wrong(place, "`Type` must be `String`"));
            }
            if members.get("Default").is_some_and(|default| !default.is_string()) {
                return Err(wrong(place, "`Default` must be a text"));
            }
        }
        template.check(&Value::Object(template.configuration.clone()), "DeviceConfiguration")?;
        template.resources(&part("Resources")?)?;
        Ok(template)
    }

    /// The groups that it names as they are, for whoever devices come: those that are made of parameters are not known yet.
    pub(super) fn groups(&self) -> Vec<&str> {
        let groups = self.thing.as_ref().and_then(|thing| thing.properties.get("ThingGroups"));
        groups.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
    }

    fn resources(&mut self, resources: &Map<String, Value>) -> Result<(), TemplateError> {
        let mut has_certificate = false;
        for (name, resource) in resources {
            let place = format!("Resources.{name}");
            let members = object(&place, resource)?;
            only(&place, members, &["Type", "Properties", "OverrideSettings"])?;
            let none = Value::Object(Map::new());
            let properties = members.get("Properties").unwrap_or(&none);
            self.check(properties, &place)?;
            let properties = object(&place, properties)?.clone();
            let has = |key: &str| properties.contains_key(key);
            let kind = members.get("Type").and_then(Value::as_str).unwrap_or_default();
            if kind != "AWS::IoT::Thing" && members.contains_key("OverrideSettings") {
                return Err(wrong(place, "`OverrideSettings` are for `AWS::IoT::Thing`"));
            }
            match kind {
                "AWS::IoT::Thing" => {
                    only(
                        &place,
                        &properties,
                        &["ThingName", "AttributePayload", "ThingTypeName", "ThingGroups"],
                    )?;
                    if !has("ThingName") || self.thing.is_some() {
                        return Err(wrong(place, "a template makes one thing, which has a `ThingName`"));
                    }
                    let over = overrides(&place, members.get("OverrideSettings"))?;
                    self.thing = Some(Thing { properties, over });
                }
                "AWS::IoT::Certificate" => {
                    only(&place, &properties, &["CertificateId", "Status"])?;
                    if !has("CertificateId") || has_certificate {
                        let what = format!(
                            "a template activates one certificate: `\"CertificateId\": {{\"Ref\": \"{CERTIFICATE_ID}\"}}`"
                        );
                        return Err(wrong(place, what));
                    }
                    (self.certificate, has_certificate) = (properties, true);
                }
                "AWS::IoT::Policy" => {
                    only(&place, &properties, &["PolicyName", "PolicyDocument"])?;
                    if has("PolicyName") == has("PolicyDocument") {
                        return Err(wrong(place, "a policy has either `PolicyName` or `PolicyDocument`"));
                    }
                    self.policies.push(properties);
                }
                other => {
                    let what = format!(
                        "`Type` is `{other}`; AWS::IoT::Thing, AWS::IoT::Certificate and AWS::IoT::Policy are known"
                    );
                    return Err(wrong(place, what));
                }
            }
        }
        if !has_certificate {
            return Err(wrong("Resources", "there is no `AWS::IoT::Certificate`"));
        }
        if self.policies.len() > POLICIES_MAX {
            let count = self.policies.len();
            return Err(wrong("Resources", format!("{count} policies; the most is {POLICIES_MAX}")));
        }
        Ok(())
    }

    /// Looks whether the functions below a node are known, and whether what they refer to is there.
    fn check(&self, node: &Value, place: &str) -> Result<(), TemplateError> {
        match node {
            Value::Array(nodes) => nodes.iter().try_for_each(|node| self.check(node, place)),
            Value::Object(members) => {
                if let Some((name, argument)) = function(members) {
                    let refers = argument.as_str().filter(|_| name == "Ref");
                    if name != "Ref" && !FUNCTIONS.contains(&name) {
                        return Err(wrong(place, format!("there is no function `{name}`")));
                    }
                    if let Some(refers) = refers
                        && refers != CERTIFICATE_ID
                        && !self.parameters.contains_key(refers)
                    {
                        return Err(wrong(place, format!("`Ref` to `{refers}`, which is no parameter")));
                    }
                }
                members.values().try_for_each(|node| self.check(node, place))
            }
            _ => Ok(()),
        }
    }
}

fn overrides(place: &str, settings: Option<&Value>) -> Result<Overrides, TemplateError> {
    let mut over = Overrides::default();
    let Some(settings) = settings else { return Ok(over) };
    for (property, how) in object(place, settings)? {
        let how = match how.as_str().unwrap_or_default() {
            "DO_NOTHING" => Override::Nothing,
            "REPLACE" => Override::Replace,
            "FAIL" => Override::Fail,
            "MERGE" if property != "ThingTypeName" => Override::Merge,
            _ => {
                let what =
                    format!("`OverrideSettings.{property}` must be DO_NOTHING, REPLACE, FAIL or MERGE");
                return Err(wrong(place, what));
            }
        };
        match property.as_str() {
            "AttributePayload" => over.attributes = how,
            "ThingTypeName" => over.kind = how,
            "ThingGroups" => over.groups = how,
            other => {
                let what = format!(
                    "`OverrideSettings.{other}` is not known; AttributePayload, ThingTypeName, ThingGroups are"
                );
                return Err(wrong(place, what));
            }
        }
    }
    Ok(over)
}
